"""The whole cascade in PyTorch, geometry included: what one gets on a GPU without our runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveate.benchmarks.compare.torch_networks import TorchWay, refuse_imported
from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.errors import EngineError
from foveate.train.reference.cascade import TorchCascade

Batch = Callable[[Sequence[Pixels]], Sequence[tuple[Any, Any]]]


class Lowered(nn.Module):
    """A network in another type and layout, float32 outside: the graph's own casts in PyTorch."""

    def __init__(self, network: nn.Module, way: TorchWay) -> None:
        super().__init__()
        self.layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self.dtype = way.dtype
        lowered = network.to(way.device, way.dtype)
        self.network = lowered.to(memory_format=self.layout)  # type: ignore[call-overload]

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.network(values.to(self.dtype, memory_format=self.layout))
        return found.float()


def whole_cascade(cascade: TorchCascade, way: TorchWay, images: Sequence[Pixels]) -> Batch:
    """Return a cascade as a function of host arrays of one size, run once on ``images``.

    The module is changed: only the two networks change precision. TF32 is off. Compiled is
    torch.compile, on a GPU with CUDA graphs. EngineError where PyTorch cannot run it.
    """
    if way.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("PyTorch sees no CUDA device here")
    refuse_imported(cascade.stage1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    cascade.stage1 = Lowered(cascade.stage1, way)
    cascade.stage2 = None if cascade.stage2 is None else Lowered(cascade.stage2, way)

    def forward(pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = cascade(pixels.float())
        return output.mask, output.box

    mode = "reduce-overhead" if way.device == "cuda" else "default"
    run = torch.compile(forward, mode=mode, dynamic=False) if way.compiled else forward

    def batch(given: Sequence[Pixels]) -> Sequence[tuple[Any, Any]]:
        stacked = np.stack([as_input_type(image, *cascade.spec.input_kind) for image in given])
        with torch.inference_mode(), torch.device(way.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of its own parts
            mask, box = run(torch.from_numpy(stacked).to(way.device))
            return list(zip(mask.cpu().numpy(), box[:, 0].cpu().numpy(), strict=True))

    try:
        batch(images)
    except Exception as error:  # torch.compile has exceptions of its own for a missing compiler
        line = " ".join(str(error).split())[:200]
        raise EngineError(f"PyTorch cannot run it here: {line}") from error
    return batch
