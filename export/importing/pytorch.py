"""PyTorch networks as ONNX files, by PyTorch's own exporter."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from foveate.export.importing.network_file import NetworkFile, network_file
from foveate.export.onnx_graph.writer import OPSET
from foveate.runtime.arrays import Array
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.spec import Size


def read_program(path: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the module of a ``torch.export.save`` file and the shape of its input."""
    try:
        program = torch.export.load(path)
        (name,) = program.graph_signature.user_inputs
        (node,) = [node for node in program.graph.nodes if node.name == name]
        shape = tuple(int(side) for side in node.meta["val"].shape)
        module = program.module(check_guards=False)
        # it refuses train(), and PyTorch's exporter calls it
        module.train = lambda mode=True: module  # type: ignore[method-assign]
        return module, shape
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{path}: is not a program of torch.export.save with one input of fixed size: {reason}"
        ) from None


def network_of_module(
    module: nn.Module, name: str, shape: tuple[int, ...], sha256: str = ""
) -> tuple[NetworkFile, Callable[[Array], dict[str, Array]]]:
    """Return the ONNX file of a module in evaluation mode, and the module as a function of arrays.

    ``shape`` is that of its input, (1, c, h, w). Without ``sha256`` that of its weights is stated.
    """
    if find_spec("onnxscript") is None:  # needed by the newer of PyTorch's exporters
        options: dict[str, Any] = {"dynamo": False}
    else:
        options = {"dynamo": True, "external_data": False, "verbose": False}
    example = torch.zeros(shape)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        try:
            with torch.no_grad():
                torch.onnx.export(module, (example,), path, opset_version=OPSET, **options)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{name}: PyTorch cannot export it as ONNX: {reason}") from None
        model = onnx.load(path)
    digest = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        digest.update(f"{key}\0".encode() + np.ascontiguousarray(tensor.numpy()).tobytes())
    file = network_file(name, model, sha256 or digest.hexdigest())
    outputs = [item.name for item in model.graph.output]

    def run(values: Array) -> dict[str, Array]:
        with torch.inference_mode():
            made = module(torch.from_numpy(values))
        if isinstance(made, dict):
            made = tuple(made.values())
        parts = made if isinstance(made, list | tuple) else (made,)
        return {key: part.numpy() for key, part in zip(outputs, parts, strict=False)}

    return file, run


def input_shape(channels: int, size: Size | None) -> tuple[int, ...]:
    """Return the shape that a module is exported at; SettingsError where no size was given."""
    if size is None:
        raise SettingsError("a PyTorch module is imported at one size: give size, as HxW")
    return (1, channels, size.height, size.width)
