"""The operators that networks are made of: PyTorch's, written as ONNX's in one element type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.export.onnx_graph.writer import GraphWriter

Pair = Sequence[int]
NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}
"""The one form of Resize that engines agree on, where the scale is a whole number."""


@dataclass(frozen=True)
class Weight:
    """A parameter of a network: the name it gets in the graph, and its values."""

    name: str
    values: npt.NDArray[np.float32]


class NetworkOperators:
    """Each public method has the name of an operator of PyTorch and the arguments of it.

    Tensors are their names in the graph; what is returned is the name of the tensor made.
    """

    def __init__(self, w: GraphWriter, dtype: np.dtype[np.floating]) -> None:
        self.w, self.dtype = w, dtype

    def conv2d(
        self, x: str, weight: Weight, bias: Weight, stride: Pair = (1, 1), *more: Any
    ) -> str:
        """Write a convolution; ``more`` are padding, dilation and groups."""
        padding, dilation, groups = more + ((0, 0), (1, 1), 1)[len(more) :]
        attributes: dict[str, Any] = {"kernel_shape": weight.values.shape[2:]}
        attributes["pads"] = [*padding, *padding]
        if tuple(stride) != (1, 1):
            attributes["strides"] = stride
        if tuple(dilation) != (1, 1):
            attributes["dilations"] = dilation
        if groups != 1:
            attributes["group"] = groups
        return self.w.op("Conv", x, self._stored(weight), self._stored(bias), **attributes)

    def conv_transpose2d(self, x: str, weight: Weight, bias: Weight, stride: Pair) -> str:
        return self.w.op(
            "ConvTranspose", x, self._stored(weight), self._stored(bias),
            kernel_shape=weight.values.shape[2:], strides=stride,
        )  # fmt: skip

    def max_pool2d(
        self, x: str, kernel: Pair, stride: Pair, padding: Pair = (0, 0), *more: Any
    ) -> str:
        """Write the maximum of ``kernel`` pixels; ``more`` are dilation and the ceiling mode."""
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride}
        if any(padding):
            attributes["pads"] = [*padding, *padding]
        if more[1:] == (True,):
            attributes["ceil_mode"] = 1
        return self.w.op("MaxPool", x, **attributes)

    def adaptive_avg_pool2d(self, x: str, size: Pair) -> str:
        if tuple(size) != (1, 1):
            raise TypeError(f"no way to export adaptive_avg_pool2d to {list(size)}; expected 1 x 1")
        return self.w.op("GlobalAveragePool", x)

    def repeat_pixels(self, x: str, times: int) -> str:
        """Write each pixel ``times`` times along both axes. Engines differ in their Resize."""
        copies = self.w.op("Concat", *[x] * times**2, axis=1)
        return self.w.op("DepthToSpace", copies, blocksize=times, mode="DCR")

    def pad(self, x: str, sides: Sequence[int], mode: str = "constant", value: float = 0) -> str:
        """Write a border; ``sides`` are left, right, top, bottom."""
        if mode != "constant":
            raise TypeError(f"no way to export pad of mode {mode}; expected constant")
        left, right, top, bottom = sides
        return self.w.op(
            "Pad", x, self.w.ints(0, 0, top, left, 0, 0, bottom, right), self._scalar(value or 0)
        )

    def cat(self, parts: Sequence[str], dim: int) -> str:
        return self.w.op("Concat", *parts, axis=dim)

    def add(self, x: str, other: str) -> str:
        return self.w.op("Add", x, other)

    def mul(self, x: str, other: str) -> str:
        return self.w.op("Mul", x, other)

    def relu(self, x: str) -> str:
        return self.w.op("Relu", x)

    def sigmoid(self, x: str) -> str:
        return self.w.op("Sigmoid", x)

    def silu(self, x: str) -> str:
        return self.w.op("Mul", x, self.w.op("Sigmoid", x))

    def hardtanh(self, x: str, low: float = -1.0, high: float = 1.0) -> str:
        return self.w.op("Clip", x, self._scalar(low), self._scalar(high))

    def _scalar(self, value: float) -> str:
        return self.w.array(np.array(value, self.dtype))

    def _stored(self, weight: Weight) -> str:
        if self.dtype == np.float16 and np.abs(weight.values).max(initial=0) > 65504:
            raise ValueError(f"{weight.name} does not fit float16")
        return self.w.array(weight.values.astype(self.dtype), weight.name)


class Int8Operators(NetworkOperators):
    """Writes without what the CPU engines cannot compute in 8 bits."""

    def conv_transpose2d(self, x: str, weight: Weight, bias: Weight, stride: Pair) -> str:
        """Write a 1 x 1 convolution with four times the channels: ONNX Runtime has no other."""
        values = weight.values.transpose(1, 2, 3, 0).reshape(-1, len(weight.values), 1, 1)
        wide = Weight(weight.name, np.ascontiguousarray(values))
        x = self.conv2d(x, wide, Weight(bias.name, np.repeat(bias.values, 4)))
        return self.w.op("DepthToSpace", x, blocksize=2, mode="CRD")

    def repeat_pixels(self, x: str, times: int) -> str:
        """Write a Resize to the nearest: of 8 bits OpenVINO refuses the other form."""
        scales = self.w.array(np.array([1, 1, times, times], np.float32))
        return self.w.op("Resize", x, "", scales, **NEAREST)
