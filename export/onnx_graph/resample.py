"""Resampling inside the graph, one axis after the other, by blocks of cells.

A row of triangle weights is zero but for the pixels under its triangle. So the cells of an axis go
in blocks, each block reads only the rows that its triangles reach, and the blocks of a band are one
batched product. How many rows that is follows from the sizes alone, never from a box, so no shape
depends on data. ``foveate.runtime.geometry`` has the same weights, zeros included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import Size

BLOCK = 16
"""Cells of a block: with fewer more rows are read twice, with more there are more zeros."""
BANDS = 8
"""Parts that a plane is read in, one after the other, so that what they copy is never all of it."""
Span = tuple[str, str]
"""Start and stop along an axis in its pixels, float32 that broadcast to (N, 1, 1, 1)."""


@dataclass(frozen=True)
class Axis:
    """One axis of a plane inside the graph: its size as float32 (1,) and as int64 (1,)."""

    size: str
    pixels: str


@dataclass(frozen=True)
class Plane:
    """(N, H, W) inside the graph: its name, its axes, and 0 to N - 1 as int64 (N,)."""

    name: str
    rows: Axis
    columns: Axis
    numbers: str


@dataclass(frozen=True)
class Cells:
    """``count`` cells along an axis, in blocks of ``block``; the last may be a part of one."""

    count: int
    block: int = BLOCK

    @property
    def blocks(self) -> int:
        return -(-self.count // self.block)

    @property
    def starts(self) -> npt.NDArray[np.float32]:
        """The first cell of each block, (1, blocks, 1, 1)."""
        numbers = np.arange(self.blocks, dtype=np.float32) * np.float32(self.block)
        return numbers.reshape(1, -1, 1, 1)


def image_plane(w: GraphWriter, pixels: str) -> Plane:
    """Return (N, H, W) pixels with their axes."""
    shape = w.op("Shape", pixels)
    sides = [w.op("Slice", shape, w.ints(i), w.ints(i + 1), w.ints(0)) for i in range(3)]
    rows, columns = (Axis(w.op("Cast", side, to=TensorProto.FLOAT), side) for side in sides[1:])
    return Plane(pixels, rows, columns, steps(w, sides[0]))


def fixed_plane(w: GraphWriter, name: str, size: Size, image: Plane) -> Plane:
    """Return (N, height, width), as many planes of one size as there are images."""
    rows, columns = (
        Axis(w.constant(float(side)), w.ints(side)) for side in (size.height, size.width)
    )
    return Plane(name, rows, columns, image.numbers)


def whole_span(w: GraphWriter, axis: Axis) -> Span:
    """Return the span of all pixels of an axis."""
    return w.array(np.zeros((1, 1, 1, 1), np.float32)), axis.size


def resample(w: GraphWriter, plane: Plane, spans: tuple[Span, Span], size: Size) -> str:
    """Return (N, height, width): the spans of rows and columns of a plane, resampled."""
    tall = _resample_rows(w, plane, spans[0], size.height, BANDS)
    turned = w.op("Transpose", tall, perm=[0, 2, 1])
    beside = Plane(turned, plane.columns, plane.rows, plane.numbers)
    wide = _resample_rows(w, beside, spans[1], size.width, 1)
    wide = w.op("Reshape", wide, w.ints(-1, size.width, size.height))  # sides that engines know
    return w.op("Transpose", wide, perm=[0, 2, 1])


def triangle(w: GraphWriter, offset: str, radius: str) -> str:
    """Return max(0, radius - |offset|), the triangle filter but for a factor."""
    return w.op("Relu", w.op("Sub", radius, w.op("Abs", offset)))


def shares(w: GraphWriter, offset: str, radius: str) -> str:
    """Return triangle weights that add up to 1 along the last of four axes."""
    weights = triangle(w, offset, radius)
    return w.op("Div", weights, w.op("ReduceSum", weights, w.ints(3), keepdims=1))


def steps(w: GraphWriter, count: str) -> str:
    """Return 0, 1, ... below ``count``, both int64, ``count`` of shape (1,)."""
    zero, one = (w.array(np.array(value, np.int64)) for value in (0, 1))
    return w.op("Range", zero, w.op("Squeeze", count, w.ints(0)), one)


def counting(w: GraphWriter, count: str) -> str:
    """Return 0, 1, ... as float32, as many as the float32 (1,) ``count`` says."""
    scalar = w.op("Squeeze", count, w.ints(0))
    return w.op("Range", w.scalar(0.0), scalar, w.scalar(1.0))


def split(w: GraphWriter, item: str, bands: int, blocks: int, axis: int = 1) -> list[str]:
    """Return what has all blocks along an axis in ``bands`` parts."""
    if bands == 1:
        return [item]
    ends = [blocks * band // bands for band in range(bands + 1)]
    return [
        w.op("Slice", item, w.ints(begin), w.ints(end), w.ints(axis))
        for begin, end in zip(ends, ends[1:], strict=False)
    ]


def joined(w: GraphWriter, bands: list[str]) -> str:
    """Return the parts again as one, along axis 1."""
    return bands[0] if len(bands) == 1 else w.op("Concat", *bands, axis=1)


def _resample_rows(w: GraphWriter, plane: Plane, span: Span, count: int, bands: int) -> str:
    """Return (N, count, M) of (N, size, M): a span of its rows, resampled."""
    blocks = Cells(count).blocks
    bands = min(bands, blocks)
    scale = w.op("Div", w.op("Sub", span[1], span[0]), w.constant(float(count)))
    radius = w.op("Max", scale, w.constant(1.0))
    inner = np.arange(BLOCK, dtype=np.float32).reshape(1, 1, BLOCK, 1)
    numbers = np.minimum(Cells(count).starts + inner, np.float32(count - 1)) + np.float32(0.5)
    cells = w.op("Add", span[0], w.op("Mul", w.array(numbers), scale))
    rows = _rows_reached(w, plane.rows, cells, radius, count)
    offset = w.op("Sub", w.op("Add", rows, w.constant(0.5)), cells)
    weights = shares(w, offset, radius)
    places = w.op("Cast", w.op("Squeeze", rows, w.ints(2)), to=TensorProto.INT64)
    begins = w.op("Mul", plane.numbers, plane.rows.pixels)
    places = w.op("Add", places, w.op("Reshape", begins, w.ints(-1, 1, 1)))
    table = w.op("Flatten", plane.name, axis=2)
    parts = split(w, weights, bands, blocks), split(w, places, bands, blocks)
    found = [
        w.op("MatMul", part, w.op("Gather", table, place, axis=0))
        for part, place in zip(*parts, strict=True)
    ]
    tall = w.op("Reshape", joined(w, found), w.ints(0, blocks * BLOCK, -1))
    if count % BLOCK:
        tall = w.op("Slice", tall, w.ints(0), w.ints(count), w.ints(1))
    return tall


def _rows_reached(w: GraphWriter, axis: Axis, cells: str, radius: str, count: int) -> str:
    """Return (N, blocks, 1, length) float32: consecutive rows with all that a block reaches."""
    length = w.op("Mul", axis.size, w.constant((BLOCK + 1) / count))
    length = w.op("Ceil", w.op("Max", length, w.constant(float(BLOCK + 1))))
    length = w.op("Min", w.op("Add", length, w.constant(2.0)), axis.size)
    first = w.op("Slice", cells, w.ints(0), w.ints(1), w.ints(2))
    first = w.op("Relu", w.op("Floor", w.op("Sub", first, radius)))
    first = w.op("Min", first, w.op("Sub", axis.size, length))
    return w.op("Add", first, counting(w, length))
