"""The operators that networks are made of: PyTorch's, written as ONNX's in one element type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.export.onnx_graph.writer import GraphWriter, Value, concat

Pair = Sequence[int]
NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}
"""The one form of Resize that engines agree on, where the scale is a whole number."""
SAME = {"add": "Add", "relu": "Relu", "sigmoid": "Sigmoid"}
"""Operators of PyTorch that are one of ONNX, with the same inputs."""


@dataclass(frozen=True)
class Weight:
    """A parameter of a network: the name it gets in the graph, and its values."""

    name: str
    values: npt.NDArray[np.float32]


class NetworkOperators:
    """Each public method has the name of another operator of PyTorch and its arguments.

    ``x`` is a value of the graph; what is returned is the value made.
    """

    dtype: np.dtype[np.floating] = np.dtype(np.float32)

    def __init__(self, w: GraphWriter) -> None:
        self.w = w

    def conv2d(
        self, x: Value, weight: Weight, bias: Weight, stride: Pair = (1, 1), *more: Any
    ) -> Value:
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
        return x.op("Conv", self._stored(weight), self._stored(bias), **attributes)

    def conv_transpose2d(self, x: Value, weight: Weight, bias: Weight, stride: Pair) -> Value:
        return x.op(
            "ConvTranspose", self._stored(weight), self._stored(bias),
            kernel_shape=weight.values.shape[2:], strides=stride,
        )  # fmt: skip

    def max_pool2d(
        self, x: Value, kernel: Pair, stride: Pair, padding: Pair = (0, 0), *more: Any
    ) -> Value:
        """Write the maximum of ``kernel`` pixels; ``more`` are dilation and the ceiling mode."""
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride}
        if any(padding):
            attributes["pads"] = [*padding, *padding]
        if more[1:] == (True,):
            attributes["ceil_mode"] = 1
        return x.op("MaxPool", **attributes)

    def adaptive_avg_pool2d(self, x: Value, size: Pair) -> Value:
        if tuple(size) != (1, 1):
            raise TypeError(f"no way to export adaptive_avg_pool2d to {list(size)}; expected 1 x 1")
        return x.op("GlobalAveragePool")

    def repeat_pixels(self, x: Value, times: int) -> Value:
        """Write each pixel ``times`` times along both axes."""
        scales = self.w.array(np.array([1, 1, times, times], np.float32))
        return x.op("Resize", "", scales, **NEAREST)

    def pad(
        self, x: Value, sides: Sequence[int], mode: str = "constant", value: float = 0
    ) -> Value:
        """Write a border; ``sides`` are left, right, top, bottom."""
        if mode != "constant":
            raise TypeError(f"no way to export pad of mode {mode}; expected constant")
        left, right, top, bottom = sides
        sides_ = self.w.ints(0, 0, top, left, 0, 0, bottom, right)
        return x.op("Pad", sides_, self._scalar(value or 0))

    def cat(self, parts: Sequence[Value], dim: int) -> Value:
        return concat(*parts, axis=dim)

    def flip(self, x: Value, dims: Sequence[int]) -> Value:
        """Write the values in reverse along one axis."""
        (axis,) = dims
        return x.op("Slice", -1, np.iinfo(np.int32).min, axis, -1)

    def mul(self, x: Value, other: Value | float) -> Value:
        return x * (self._scalar(other) if isinstance(other, float) else other)

    def silu(self, x: Value) -> Value:
        return x * x.op("Sigmoid")

    def hardtanh(self, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
        return x.op("Clip", self._scalar(low), self._scalar(high))

    def _scalar(self, value: float) -> Value:
        return self.w.array(np.array(value, self.dtype))

    def _stored(self, weight: Weight) -> Value:
        if self.dtype == np.float16 and np.abs(weight.values).max(initial=0) > 65504:
            raise ValueError(f"{weight.name} does not fit float16")
        return self.w.array(weight.values.astype(self.dtype), weight.name)


class HalfOperators(NetworkOperators):
    """Writes float16, for GPUs."""

    dtype = np.dtype(np.float16)

    def repeat_pixels(self, x: Value, times: int) -> Value:
        """Write copies and put them in their places: Resize has scales in float32."""
        copies = concat(*[x] * times**2, axis=1)
        return copies.op("DepthToSpace", blocksize=times, mode="DCR")


class Int8Operators(NetworkOperators):
    """Writes without what the CPU engines cannot compute in 8 bits."""

    def conv_transpose2d(self, x: Value, weight: Weight, bias: Weight, stride: Pair) -> Value:
        """Write a 1 x 1 convolution with four times the channels: ONNX Runtime has no other."""
        values = weight.values.transpose(1, 2, 3, 0).reshape(-1, len(weight.values), 1, 1)
        wide = Weight(weight.name, np.ascontiguousarray(values))
        x = self.conv2d(x, wide, Weight(bias.name, np.repeat(bias.values, 4)))
        return x.op("DepthToSpace", blocksize=2, mode="CRD")
