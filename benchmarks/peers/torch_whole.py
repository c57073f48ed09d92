"""The whole cascade in PyTorch on a GPU, geometry included: what one gets without our runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from foveate.benchmarks.parity import Segment
from foveate.benchmarks.peers.glue import GlueCascade
from foveate.benchmarks.peers.torch_networks import TorchWay, torch_network
from foveate.runtime.engines.base import Array, Pixels
from foveate.runtime.errors import EngineError
from foveate.runtime.input_types import as_input_type
from foveate.train.cascade import TorchCascade

Batch = Callable[[Sequence[Pixels]], tuple[Array, Array]]
"""Images of one size to masks (N, H, W) uint8 and boxes (N, R, 4) float32, on the host."""


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


def whole_cascade(cascade: TorchCascade, way: TorchWay) -> Batch:
    """Return a cascade's masks of host arrays, run wholly on a device; the module is changed.

    float32 means TF32 off. Only the two networks change precision. Compiled is torch.compile with
    CUDA graphs. EngineError when PyTorch does not see the device.
    """
    _prepare(way)
    cascade.stage1 = Lowered(cascade.stage1, way)
    cascade.stage2 = None if cascade.stage2 is None else Lowered(cascade.stage2, way)

    def forward(pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = cascade(pixels.float())
        return output.mask, output.box

    mode = "reduce-overhead" if way.device == "cuda" else "default"
    run = torch.compile(forward, mode=mode, dynamic=False) if way.compiled else forward

    def batch(images: Sequence[Pixels]) -> tuple[Array, Array]:
        stacked = np.stack([as_input_type(image, cascade.spec.input_type) for image in images])
        with torch.inference_mode(), torch.device(way.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of its own parts
            mask, box = run(torch.from_numpy(stacked).to(way.device))
            return mask.cpu().numpy(), box.cpu().numpy()

    return batch


def one_by_one(batch: Batch) -> Segment:
    """Return a batch function as one from an image to its mask and box."""

    def segment(image: Pixels) -> tuple[Array, Array]:
        masks, boxes = batch([image])
        return masks[0], boxes[0]

    return segment


def glue_batch(cascade: TorchCascade, way: TorchWay) -> Batch:
    """Return the networks alone on a device, image by image, with numpy and OpenCV around them."""
    _prepare(way)
    stage1, stage2 = cascade.spec.stage1, cascade.spec.stage2
    assert stage2 is not None and cascade.stage2 is not None
    glue = GlueCascade(
        cascade.spec,
        torch_network(cascade.stage1, way, [1, 1, stage1.height, stage1.width]),
        torch_network(cascade.stage2, way, [1, 2, stage2.height, stage2.width]),
    )

    def batch(images: Sequence[Pixels]) -> tuple[Array, Array]:
        masks, boxes = zip(*(glue(image) for image in images), strict=True)
        return np.stack(masks), np.stack(boxes)[:, None]

    return batch


def _prepare(way: TorchWay) -> None:
    """Turn TF32 off; EngineError when PyTorch does not see the device."""
    if way.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("PyTorch sees no CUDA device here")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
