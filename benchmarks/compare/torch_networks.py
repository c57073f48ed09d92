"""The networks in PyTorch: as a notebook runs them, and as fast as PyTorch gets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveate.benchmarks.compare.handwritten_cascade import Network
from foveate.export.onnx_graph.onnx_network import OnnxNetwork
from foveate.runtime.errors import EngineError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TorchWay:
    """How PyTorch runs a network. ``dtype`` is that of autocast; float32 means none."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    compiled: bool = False


def torch_network(module: nn.Module, way: TorchWay, shape: Sequence[int]) -> Network:
    """Return a network as a function of numpy arrays, run once on ``shape``.

    The module is changed. EngineError when torch.compile finds no compiler here, and for a network
    that was imported as ONNX.
    """
    refuse_imported(module)
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    module = module.to(way.device).eval()
    module = module.to(memory_format=layout)  # type: ignore[call-overload]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of its own parts
            # else stage 2 is compiled for any size, since stage 1 had another: half an hour or more
            taken = torch.compile(module, dynamic=False) if way.compiled else module
            network = _network(taken, way, layout)
            network(np.zeros(shape, np.float32))
    except Exception as error:  # torch.compile has exceptions of its own for a missing compiler
        line = " ".join(str(error).split())[:200]
        raise EngineError(f"PyTorch cannot run it here: {line}") from error
    return network


def refuse_imported(module: nn.Module) -> None:
    """Raise EngineError for a network that ONNX Runtime runs: its speed is not PyTorch's."""
    if isinstance(module, OnnxNetwork):
        raise EngineError("the network was imported as ONNX and has no PyTorch form")


def _network(module: Callable[[Tensor], Tensor], way: TorchWay, layout: Any) -> Network:
    """Return the module as a function of numpy arrays."""
    context = torch.inference_mode if way.compiled else torch.no_grad
    lower = way.dtype != torch.float32

    def network(values: FloatArray) -> FloatArray:
        with context(), torch.autocast(way.device.split(":")[0], way.dtype, enabled=lower):
            x = torch.from_numpy(np.ascontiguousarray(values))
            found = module(x.to(way.device, memory_format=layout)).float().cpu().numpy()
        return np.asarray(found, np.float32)

    return network
