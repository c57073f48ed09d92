"""A run: the folder a training writes. ``run.json`` and safetensors, hashed, never pickle."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from foveate.runtime.bundle import canonical_sha256, file_sha256
from foveate.runtime.errors import BundleError
from foveate.runtime.mask_files import write_atomically
from foveate.runtime.spec import CascadeSpec
from foveate.train.cascade import TorchCascade
from foveate.train.unet import UNet

SCHEMA = 1
RUN_FILE = "run.json"


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically, with the sha256 of its own content."""
    values = {**record, "schema": SCHEMA}
    values.pop("run_sha256", None)
    values["run_sha256"] = canonical_sha256(values)
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / RUN_FILE, lambda file: file.write(text.encode()))


def read_run(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` verified; BundleError says which file is wrong and why."""
    path = folder / RUN_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; wanted a run") from error
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise BundleError(f"{path}: not a run of schema {SCHEMA}; made by another version?")
    stated = record.pop("run_sha256", None)
    if canonical_sha256(record) != stated:
        raise BundleError(f"{path}: its content does not match its run_sha256; it was changed")
    return record


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda file: file.write(data))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file on the CPU."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise BundleError(f"{path}: not a sound safetensors file: {error}") from error


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Put tensors into a network; BundleError names what is missing, misshapen or not finite."""
    own = network.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is not part of this network" for name in tensors if name not in own]
    for name, tensor in tensors.items():
        if name in own and own[name].shape != tensor.shape:
            problems.append(f"{name} is {list(tensor.shape)}, wanted {list(own[name].shape)}")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            problems.append(f"{name} has values that are not finite")
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise BundleError(f"{source}: {'; '.join(problems[:4])}{more}")
    network.load_state_dict(dict(tensors))


def networks(spec: CascadeSpec, width: int, depth: int) -> tuple[UNet, UNet | None]:
    """Return fresh networks for both stages (stage 2 takes the image and stage 1's hint)."""
    stage1 = UNet(1, spec.channels, width, depth)
    return stage1, None if spec.stage2 is None else UNet(2, spec.channels, width, depth)


def load_stage(folder: Path, record: Mapping[str, Any], name: str, network: nn.Module) -> None:
    """Put a stage's best weights into its network, in evaluation mode.

    BundleError when the stage has not been trained, or its file is not the one of the record.
    """
    path = folder / f"{name}.safetensors"
    stated = record["stages"].get(name, {}).get("sha256")
    if stated is None:
        raise BundleError(f"{folder}: {name} has not been trained; run foveate train with --resume")
    if not path.is_file() or file_sha256(path) != stated:
        raise BundleError(f"{path}: missing, or not the file that run.json was written for")
    load_weights(network, load_tensors(path), path)
    network.eval()


def load_run(folder: Path) -> tuple[TorchCascade, dict[str, Any]]:
    """Return the trained cascade of a run, in evaluation mode on the CPU, and its record."""
    record = read_run(folder)
    spec = CascadeSpec.from_dict(record["spec"])
    settings = record["settings"]
    stage1, stage2 = networks(spec, settings["width"], settings["depth"])
    load_stage(folder, record, "stage1", stage1)
    if stage2 is not None:
        load_stage(folder, record, "stage2", stage2)
    return TorchCascade(spec, stage1, stage2).eval(), record


def save_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state to resume from: the weights and the moments of AdamW."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{index}.{key}": value for key, value in state.items()})
    save_tensors(path, tensors)


def load_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the state of ``save_state`` back."""
    tensors = load_tensors(path)
    prefix = "network."
    weights = {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
    load_weights(network, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    whole = copy.deepcopy(optimizer.state_dict())
    whole["state"] = state
    optimizer.load_state_dict(whole)
