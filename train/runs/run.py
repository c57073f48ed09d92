"""A run: the folder a training writes. ``run.json`` and safetensors, hashed, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import canonical_sha256, check_shape, read_json
from foveate.runtime.spec import CascadeSpec
from foveate.train.calibration.image_dice import class_dice
from foveate.train.data.dataset import DataSet
from foveate.train.networks.build import networks
from foveate.train.reference.cascade import TorchCascade
from foveate.train.settings.network_choice import Networks

SCHEMA = 1
FOLDS_FILE = "folds.json"
_SHAPE = {
    "kind": str,
    "created": str,
    "settings": {
        "width": int, "depth": int, "data_dir": str, "image_dir_name": str, "mask_dir_name": str,
    },
    "spec": dict,
    "data": {
        "name": str, "licence": str, "fingerprint": str, "training": [str], "validation": [str],
    },
    "stages": dict,
}  # fmt: skip
_LATER_SHAPE = {
    "stage2_network": str, "stage2_width": int, "stage2_depth": int, "mask_threshold": int,
    "mask_values": str, "mask_colours": str, "mask_instances": bool, "ignore_value": int,
    "channels": str,
}  # fmt: skip
"""Settings that runs of earlier versions lack."""
_INIT_SHAPE = {"data": {"name": str, "licence": str, "fingerprint": str}}
_STAGE_SHAPE = {"curve": [{"epoch": int, "loss": float, "dice": float, "seconds": float}],
                "done": bool}  # fmt: skip


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically, with the sha256 of its own content."""
    values = {**record, "schema": SCHEMA}
    values.pop("run_sha256", None)
    values["run_sha256"] = canonical_sha256(values)
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / RUN_FILE, text.encode())


def read_run(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` verified; BundleError says which file is wrong and why."""
    path = folder / RUN_FILE
    record = read_json(path, "a run")
    if record.get("schema") != SCHEMA:
        raise BundleError(f"{path}: not a run of schema {SCHEMA}; made by another version?")
    stated = record.pop("run_sha256", None)
    if canonical_sha256(record) != stated:
        raise BundleError(f"{path}: its content does not match its run_sha256; it was changed")
    check_shape(path, record, _SHAPE)
    check_shape(path, record["stages"], dict.fromkeys(record["stages"], _STAGE_SHAPE), "stages")
    if "init" in record:
        check_shape(path, record["init"], _INIT_SHAPE, "init")
    settings = record["settings"]
    named = {key: kind for key, kind in _LATER_SHAPE.items() if key in settings}
    check_shape(path, settings, named, "settings")
    problem = Networks.of_settings(settings).problem()
    if problem:
        raise BundleError(f"{path}: {problem}")
    return record


def data_named(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was trained on, and, as ``initial``, what the runs it began with were."""
    data = {name: record["data"][name] for name in ("name", "licence", "fingerprint")}
    if "init" not in record:
        return data
    before = dict(record["init"]["data"])
    return {**data, "initial": [before, *before.pop("initial", [])]}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomically(path, data)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file on the CPU."""
    return parse_tensors(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def parse_tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a safetensors file; ``path`` is named in BundleError."""
    try:
        return load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: an element type unknown to torch
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{path}: not a sound safetensors file: {reason}") from error


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Put tensors into a network; BundleError names what is missing, misshapen or not finite."""
    check_tensors(network.state_dict(), tensors, source)
    network.load_state_dict(dict(tensors))


def check_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Raise BundleError for what is missing from tensors, misshapen or not finite."""
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is not part of it" for name in tensors if name not in own]
    for name in own.keys() & tensors.keys():
        tensor, expected = tensors[name], own[name]
        if expected.shape != tensor.shape:
            problems.append(f"{name} is {list(tensor.shape)}, expected {list(expected.shape)}")
        elif expected.dtype != tensor.dtype:
            problems.append(f"{name} is {tensor.dtype}, expected {expected.dtype}")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            problems.append(f"{name} has values that are not finite")
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise BundleError(f"{source}: {'; '.join(sorted(problems)[:4])}{more}")


def load_stage(folder: Path, record: Mapping[str, Any], name: str, network: nn.Module) -> None:
    """Put a stage's best weights into its network, in evaluation mode.

    BundleError when the stage has not been trained, or its file is not the one of the record.
    """
    path = folder / f"{name}.safetensors"
    stated = record["stages"].get(name, {}).get("sha256")
    if stated is None:
        raise BundleError(
            f"{folder / RUN_FILE}: {name} has not been trained; run foveate train with --resume"
        )
    data = _read(path) if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != stated:
        raise BundleError(f"{path}: missing, or not the file that run.json was written for")
    load_weights(network, parse_tensors(path, data), path)
    network.eval()


def load_run(folder: Path) -> tuple[TorchCascade, dict[str, Any]]:
    """Return the trained cascade of a run, in evaluation mode on the CPU, and its record."""
    record = read_run(folder)
    try:
        spec = CascadeSpec.from_dict(record["spec"])
    except BundleError as error:
        raise BundleError(f"{folder / RUN_FILE}: {error}") from None
    stage1, stage2 = networks(spec, Networks.of_settings(record["settings"]))
    load_stage(folder, record, "stage1", stage1)
    if stage2 is not None:
        load_stage(folder, record, "stage2", stage2)
    return TorchCascade(spec, stage1, stage2).eval(), record


def fold_runs(folder: Path) -> list[Path]:
    """Return the runs of a folder of ``foveate train --folds``; none where it is another folder."""
    path = folder / FOLDS_FILE
    if not path.exists():
        return []
    content = read_json(path, "the folds of a training")
    check_shape(path, content, {"folds": [{"run": str}]})
    return [folder / row["run"] for row in content["folds"]]


def validation_dice(
    folder: Path,
    dataset: DataSet,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[float]]:
    """Return for each validation image of a run the Dice of each foreground class."""
    cascade, record = load_run(folder)
    classes, stems = len(cascade.spec.classes) - 1, record["data"]["validation"]
    rows: list[list[float]] = []
    for stem in stems:
        mask = cascade.segment(dataset.image(stem))[0]
        rows.append(class_dice(mask, dataset.mask(stem), classes))
        progress(len(rows), len(stems))
    return rows
