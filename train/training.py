"""Training as it is called, by ``foveate train`` and from Python: data, settings, a run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import DataError, EngineError, FoveateError, SettingsError
from foveate.runtime.io.window import Window
from foveate.train.advice import advice, colour_note
from foveate.train.configure import configure
from foveate.train.data.dataset import DataSet, load_dataset, read_stems
from foveate.train.data.mask_labels import check_classes
from foveate.train.data.survey import survey
from foveate.train.runs.job import TrainingJob, check_unused
from foveate.train.settings.settings import Settings


@dataclass(frozen=True)
class Run:
    """A folder that a training wrote, and what its ``run.json`` says."""

    folder: Path
    record: dict[str, Any]

    def __repr__(self) -> str:
        dice = ", ".join(f"{name} {value:.4f}" for name, value in self.best.items())
        return f"Run({str(self.folder)!r}, {self.record['kind']}, best Dice: {dice})"

    def curve(self, stage: str) -> list[dict[str, Any]]:
        """Return a row an epoch of ``stage1`` or ``stage2``: epoch, loss, dice, rate, seconds."""
        rows: list[dict[str, Any]] = self.record["stages"].get(stage, {}).get("curve", [])
        return rows

    @property
    def best(self) -> dict[str, float]:
        """Best validation Dice of each stage, at the stage's own resolution."""
        stages: list[str] = list(self.record["stages"])
        return {
            name: max((row["dice"] for row in self.curve(name)), default=0.0) for name in stages
        }


def train(
    settings: Settings | None = None,
    *,
    out: str | Path,
    stages: str | None = None,
    budget: str = "balanced",
    resume: bool = False,
    stem_list: str | Path | None = None,
    init: str | Path | None = None,
    **values: Any,
) -> Run:
    """Train on ``data_dir`` and return the run written to the folder ``out``.

    ``values`` are settings by name: ``train(data_dir="data/phantoms", out="runs/first",
    num_epochs=10)``; what they leave out is chosen from the data within ``budget`` (fast, balanced
    or best). With ``settings`` nothing is chosen, and ``values`` go over them. ``stages`` is both,
    1, 2 or single; ``resume`` goes on with the run in ``out``; ``stem_list`` is a file of stems
    instead of ``train.txt``; ``init`` is a run whose weights the networks begin with. The log goes
    to stdout.

    Raises SettingsError, DataError, BundleError, EngineError and FoveateError.
    """
    given = values if settings is None else settings.but(**values).as_dict()
    folder = Path(out)
    listed, initial = (Path(path) if path else None for path in (stem_list, init))
    job = prepare(given, folder, stages, budget, resume, listed, initial)
    with explain_resume_on_interrupt(folder):
        return train_on(job)


def prepare(
    given: Mapping[str, Any],
    folder: Path,
    stages: str | None,
    budget: str,
    resume: bool,
    stem_list: Path | None,
    init: Path | None,
) -> TrainingJob:
    """Look at the data and return the job; what is not given is chosen from the data.

    A run that is continued keeps its own settings.
    """
    started = time.monotonic()
    record = _continued(folder, stages, resume)
    settings = Settings(**{**record.get("settings", {}), **given})
    _check_folder(folder, settings)
    dataset = open_data(settings, stem_list)
    whole = "single" if record.get("kind") == "single" else "both"
    job = TrainingJob(dataset, settings, folder, stages or whole, resume, init, started=started)
    if record:
        return job
    bar = progress_bar()
    measured = survey(dataset, partial(bar.update, "measuring the targets"))
    found = configure(measured, given, stages, budget)
    lines = tuple(choice.words for choice in found.choices)
    head = ["Chosen from the data; --set NAME=VALUE overrides:"] * bool(lines)
    said = advice(measured, found.settings, found.stages, budget)
    colours = colour_note(measured) if "channels" not in given else []
    notes = (*head, *(f"  {line}" for line in lines), *said, *colours)
    return replace(job, settings=found.settings, stages=found.stages, choices=lines, notes=notes)


def _continued(folder: Path, stages: str | None, resume: bool) -> dict[str, Any]:
    """Return the record of the run that a training goes on with; empty where it begins one.

    FoveateError where it would begin one in the folder of another.
    """
    if not (resume or stages == "2"):
        check_unused(folder)
        return {}
    if not (folder / RUN_FILE).exists():
        if stages == "2" or not any(folder.glob(f"fold-*/{RUN_FILE}")):
            raise FoveateError(
                f"{folder} holds no run to continue; start one without "
                f"{'--resume' if resume else '--stages 2'}"
            )
        return {}
    from foveate.train.runs.run import read_run

    return read_run(folder)


def _check_folder(folder: Path, settings: Settings) -> None:
    """Raise SettingsError where the folder to write is a data set, or a part of one."""
    names = (settings.image_dir_name, settings.mask_dir_name)
    root, out = Path(settings.data_dir).resolve(), folder.resolve()
    own = [root, *(root / name for name in names)] if settings.data_dir else []
    if out in own or any((out / name).is_dir() for name in names):
        raise SettingsError(
            f"{folder} is a data set, and would be written into; expected a folder of its own: "
            "foveate train DATA --out RUN, or foveate train DATA --preview DIR"
        )


@contextmanager
def explain_resume_on_interrupt(out: Path) -> Iterator[None]:
    """Say on Ctrl-C and SIGTERM what is kept, where something is."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if any(out.glob(f"**/{RUN_FILE}")):
            progress_bar().log(
                f"Whole epochs are kept. Continue with the same command and --resume, --out {out}"
            )
        raise


def _exit(number: int, frame: FrameType | None) -> None:
    # A signal to the process group ends the view workers too, which torch would raise errors for.
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    sys.exit(128 + number)


class _Mute(Bar):
    """Shows nothing."""

    def update(self, label: str, done: int, total: int, note: str = "") -> None:
        pass

    def log(self, text: str) -> None:
        pass


def progress_bar() -> Bar:
    """Return a progress line; of the processes that torchrun starts only the first shows one."""
    return Bar() if os.environ.get("RANK", "0") == "0" else _Mute()


def open_data(settings: Settings, stem_list: Path | None = None) -> DataSet:
    """Return the data set that the settings name, after looking at every mask of it.

    ``stem_list`` limits it; without, ``train.txt`` does when there is one, or else the images of
    ``test.txt`` are left out.
    """
    if not settings.data_dir:
        raise DataError("no data set given: foveate train DATA --out RUN, or data_dir in --config")
    root = Path(settings.data_dir)
    bar = progress_bar()
    if stem_list is None and (root / "train.txt").exists():
        stem_list = root / "train.txt"
    test_list = root / "test.txt"
    holds_out = stem_list is None and test_list.exists()
    dataset = load_dataset(
        root,
        settings.image_dir_name,
        settings.mask_dir_name,
        read_stems(stem_list) if stem_list else None,
        partial(bar.update, "checking the data"),
        Window.parse(settings.window) if settings.window else None,
        settings.masks,
        test_list if holds_out else None,
        settings.channels,
    )
    if not dataset.rules.names:
        check_classes(dataset.contents, dataset.mask, root / settings.mask_dir_name)
    bar.log(
        f"{len(dataset.stems)} {dataset.input_type} images, {dataset.classes} foreground "
        f"class(es), masks read as {dataset.encoding}"
        + (f", from {stem_list}" if stem_list else "")
    )
    if holds_out:
        bar.log(f"{len(dataset.held_out)} images of {test_list} are left out")
    if dataset.unpaired:
        shown = ", ".join(dataset.unpaired[:5])
        bar.log(f"{len(dataset.unpaired)} masks have no image and are left out: {shown}")
    return dataset


def preview_of(job: TrainingJob) -> list[Path]:
    """Write pictures of what the networks will see into the job's folder and return their paths."""
    try:
        from foveate.train.preview.sheets import write_preview
    except ImportError as error:
        raise EngineError(f"a preview needs {error.name}: pip install 'foveate[train]'") from None
    bar = Bar()
    return write_preview(replace(job, log=bar.log, progress=bar.update))


def check(job: TrainingJob) -> None:
    """Print what is known before a training; raise FoveateError for what would end it later."""
    try:
        from foveate.train.data.full_images import plan_cache
        from foveate.train.fitting.checks import known_before
        from foveate.train.fitting.distributed import join
    except ImportError as error:
        raise EngineError(f"training needs {error.name}: pip install 'foveate[train]'") from None
    device = join(job.settings.device, job.settings.batch_size).device
    plan = plan_cache(job.dataset.contents, job.settings.cache_gb)
    for line in (*known_before(job, plan), f"Device: {device}. Nothing was trained or written."):
        progress_bar().log(line)


def train_on(job: TrainingJob) -> Run:
    """Train on a data set in memory; draw its curves."""
    try:
        from foveate.train.fitting.fit import fit
        from foveate.train.runs.curves import Curves, too_short
    except ImportError as error:
        raise EngineError(f"training needs {error.name}: pip install 'foveate[train]'") from None
    bar, curves = progress_bar(), Curves(job.folder)

    def watch(stage: str, row: Mapping[str, Any]) -> None:
        curves.add(stage, row)
        job.watch(stage, row)

    try:
        record = fit(replace(job, log=bar.log, progress=bar.update, watch=watch))
    finally:
        curves.close()
    if note := too_short(record):
        bar.log(note)
    return Run(job.folder, record)
