"""The record of a training: what ``run.json`` says from its first minute to its last."""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

import foveate
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import DataError, FoveateError, SettingsError
from foveate.runtime.spec import CascadeSpec, Normalisation, Region, Size, names_problem
from foveate.train.data.dataset import split_folds, split_validation
from foveate.train.runs.job import TrainingJob, check_unused
from foveate.train.runs.run import read_run, write_run
from foveate.train.settings.settings import Settings, parse_weights

SETTINGS_FILE = "settings.toml"
OF_THE_MACHINE = ("cache_gb", "num_workers", "threads")
"""Settings that change no view: a run may continue with others."""


def start_record(job: TrainingJob) -> dict[str, Any]:
    """Return the record to continue: the run's own when resuming or adding stage 2, else new."""
    exists = (job.folder / RUN_FILE).exists()
    if exists and (job.resume or job.stages == "2"):
        record = read_run(job.folder)
        if record["data"]["fingerprint"] != job.dataset.fingerprint:
            raise DataError(
                f"{job.dataset.root} is not the data that {job.folder} was started with "
                "(its fingerprint differs). Train into a new folder"
            )
        old, new = {**Settings().as_dict(), **record["settings"]}, job.settings.as_dict()
        kept = [key for key in new if key not in OF_THE_MACHINE]
        changed = [f"{key} {old[key]} -> {new[key]}" for key in kept if old[key] != new[key]]
        if changed:
            advice = "leave them out, or train into a new folder"
            if is_finished(job):
                advice = "it is finished and cannot be trained on; train into a new folder"
            raise SettingsError(
                f"{job.folder} was started with other settings: {', '.join(changed)}; {advice}"
            )
        if job.validation is not None and set(job.validation) != set(record["data"]["validation"]):
            raise SettingsError(f"{job.folder} was started with other validation images")
        if record["kind"] != _kind(job.stages):
            raise SettingsError(
                f"{job.folder} holds a {record['kind']} run; "
                f"it cannot continue with --stages {job.stages}"
            )
        return record
    if job.stages == "2" or job.resume:
        raise FoveateError(
            f"{job.folder} holds no run to continue; start one without "
            f"{'--resume' if job.resume else '--stages 2'}"
        )
    check_unused(job.folder)
    record = new_record(job)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_run(job.folder, record)
    write_settings(job.folder, job.settings)
    return record


def is_finished(job: TrainingJob) -> bool:
    """Say whether the folder holds a run with nothing left to train of ``job.stages``."""
    if not (job.folder / RUN_FILE).exists() or any(job.folder.glob("last-*")):
        return False
    stages = read_run(job.folder)["stages"]
    expected = ("stage1", "stage2") if job.stages in ("both", "2") else ("stage1",)
    return all(stages.get(name, {}).get("done") for name in expected)


def write_settings(folder: Path, settings: Settings) -> None:
    """Write ``settings.toml``, the settings of the run, which ``--config`` takes."""
    data = tomli_w.dumps(settings.as_dict()).encode()
    write_atomically(folder / SETTINGS_FILE, data)


def new_record(job: TrainingJob) -> dict[str, Any]:
    """Return the record of a run that begins; nothing is written."""
    settings, dataset = job.settings, job.dataset
    training, validation = split_validation(
        dataset, settings.val_fraction, settings.seed, job.validation
    )
    names = [name.strip() for name in settings.class_names.split(",") if name.strip()]
    if names and len(names) != dataset.classes:
        raise SettingsError(
            f"class_names has {len(names)} name(s); the masks have {dataset.classes} class(es)"
        )
    names = names or list(dataset.rules.names)
    names = names or [f"class {label}" for label in range(1, dataset.classes + 1)]
    classes = ("background", *names)
    if problem := names_problem(classes):
        raise SettingsError(f"class_names: {problem}")
    if settings.class_weights not in ("", "auto"):
        parse_weights(settings.class_weights, dataset.classes + 1)
    single = _kind(job.stages) == "single"
    if settings.hint_folds and not single:  # too few groups are said now, not after stage 1
        try:
            split_folds(replace(dataset, stems=training), settings.hint_folds, settings.seed)
        except DataError as error:
            raise DataError(f"{error}. Set hint_folds=0, or a lower val_fraction") from None
    if settings.single_input == "full" and not single:
        raise SettingsError("single_input=full goes with --stages single; a cascade has its box")
    if settings.region_mode == "tiles" and single:
        raise SettingsError("region_mode=tiles goes with a cascade; --stages single has no stage 2")
    if single and not settings.networks.equal:
        raise SettingsError(
            "stage2_network, stage2_width and stage2_depth go with a cascade (--stages both); "
            "one network has no stage 2"
        )
    crop_height, crop_width = settings.crop_size
    spec = CascadeSpec(
        input_type=dataset.input_type,
        stage1=Size(settings.image_height, settings.image_width),
        stage2=None if single else Size(crop_height, crop_width),
        classes=classes,
        normalisation=Normalisation(settings.normalisation),
        region=Region(
            mode="none" if single else settings.region_mode,
            margin=settings.margin,
            min_height=crop_height,
            min_width=crop_width,
        ),
        pad_multiple=settings.network_choice.multiple if settings.single_input == "full" else 0,
        channels=settings.channels,
        window=(dataset.window.low, dataset.window.high) if dataset.window else None,
    )
    return {
        "kind": _kind(job.stages),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": settings.as_dict(),
        "chosen": list(job.choices),
        "spec": spec.as_dict(),
        "data": {
            "name": dataset.root.resolve().name,
            "licence": settings.data_licence,
            "fingerprint": dataset.fingerprint,
            "images": len(dataset.stems),
            "training": list(training),
            "validation": list(validation),
        },
        "versions": {
            "foveate": foveate.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "albumentations")},
        },
        "stages": {},
    }


def _kind(stages: str) -> str:
    return "single" if stages == "single" else "cascade"
