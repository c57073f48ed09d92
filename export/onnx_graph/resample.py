"""Resample inside the graph, one axis after the other, by blocks of cells.

A row of triangle weights is zero but for the pixels under its triangle. So the cells of an axis go
in blocks, each block reads only the rows that its triangles reach, and the blocks of a band are one
batched product. How many rows that is follows from the sizes alone, never from a box, so no shape
depends on data. ``foveate.runtime.geometry`` has the same weights, zeros included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.spec import Size

BLOCK = 16
"""Cells of a block: with fewer more rows are read twice, with more there are more zeros."""
BANDS = 8
"""Parts that a plane is read in, one after the other, so that what they copy is never all of it."""
Span = tuple[Value, Value]
"""Start and stop along an axis in its pixels, float32 that broadcast to (N, 1, 1, 1)."""


@dataclass(frozen=True)
class Axis:
    """One axis of a plane inside the graph: its size as float32 (1,) and as int64 (1,)."""

    size: Value
    pixels: Value


@dataclass(frozen=True)
class Plane:
    """(N, H, W) inside the graph: its values, its axes, and 0 to N - 1 as int64 (N,).

    With several ``channels`` the values are (N, H, W, C).
    """

    values: Value
    rows: Axis
    columns: Axis
    numbers: Value
    channels: int = 1


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


def image_plane(w: GraphWriter, pixels: Value, channels: int) -> Plane:
    """Return (N, H, W) pixels, (N, H, W, C) with several channels, with their axes."""
    shape = pixels.op("Shape")
    sides = [shape.slice(i, i + 1, 0) for i in range(3)]
    rows, columns = (Axis(side.to_float(), side) for side in sides[1:])
    return Plane(pixels, rows, columns, steps(w, sides[0]), channels)


def fixed_plane(w: GraphWriter, values: Value, size: Size, image: Plane) -> Plane:
    """Return (N, height, width), as many planes of one size as there are images."""
    rows, columns = (
        Axis(w.constant(float(side)), w.ints(side)) for side in (size.height, size.width)
    )
    return Plane(values, rows, columns, image.numbers)


def whole_span(w: GraphWriter, axis: Axis) -> Span:
    """Return the span of all pixels of an axis."""
    return w.array(np.zeros((1, 1, 1, 1), np.float32)), axis.size


def resample(w: GraphWriter, plane: Plane, spans: tuple[Span, Span], size: Size) -> Value:
    """Return (N, height, width): the spans of rows and columns of a plane, resampled.

    (N, C, height, width) with several channels, which lie next to the columns in the first product
    and next to the rows in the second, so that nothing is turned for them.
    """
    turned = _resample_rows(w, plane, spans[0], size.height, BANDS)
    more = () if plane.channels == 1 else (plane.channels,)
    if more:
        turned = turned.reshape(0, -1, plane.channels * size.height)
    columns = Plane(turned, plane.columns, plane.rows, plane.numbers)
    found = _resample_rows(w, columns, spans[1], size.width, 1)
    return found.reshape(-1, *more, size.height, size.width)  # sides that engines know


def triangle(offset: Value, radius: Value) -> Value:
    """Return max(0, radius - |offset|), the triangle filter but for a factor."""
    return (radius - offset.op("Abs")).op("Relu")


def shares(offset: Value, radius: Value) -> Value:
    """Return triangle weights that add up to 1 along the last of four axes."""
    weights = triangle(offset, radius)
    return weights / weights.reduce("Sum", 3, keep=True)


def steps(w: GraphWriter, count: Value) -> Value:
    """Return 0, 1, ... below ``count``, both int64, ``count`` of shape (1,)."""
    zero, one = (w.array(np.array(value, np.int64)) for value in (0, 1))
    return w.op("Range", zero, count.squeeze(0), one)


def counting(w: GraphWriter, count: Value) -> Value:
    """Return 0, 1, ... as float32, as many as the float32 (1,) ``count`` says."""
    scalar = count.squeeze(0)
    return w.op("Range", w.scalar(0.0), scalar, w.scalar(1.0))


def split(item: Value, bands: int, blocks: int, axis: int = 1) -> list[Value]:
    """Return what has all blocks along an axis in ``bands`` parts."""
    if bands == 1:
        return [item]
    ends = [blocks * band // bands for band in range(bands + 1)]
    return [item.slice(begin, end, axis) for begin, end in zip(ends, ends[1:], strict=False)]


def joined(bands: list[Value]) -> Value:
    """Return the parts again as one, along axis 1."""
    return bands[0] if len(bands) == 1 else concat(*bands, axis=1)


def _resample_rows(w: GraphWriter, plane: Plane, span: Span, count: int, bands: int) -> Value:
    """Return (N, M, count) of (N, size, M...): a span of its rows, resampled, as columns."""
    blocks = Cells(count).blocks
    bands = min(bands, max(1, blocks // 2))  # OpenVINO turns the plane for products of one block
    scale = (span[1] - span[0]) / float(count)
    radius = scale.maximum(1.0)
    inner = np.arange(BLOCK, dtype=np.float32).reshape(1, 1, BLOCK, 1)
    numbers = np.minimum(Cells(count).starts + inner, np.float32(count - 1)) + np.float32(0.5)
    cells = span[0] + w.array(numbers) * scale
    rows = _rows_reached(w, plane.rows, cells, radius, count)
    weights = shares(rows + 0.5 - cells, radius)
    places = rows.squeeze(2).to_int64()
    begins = plane.numbers * plane.rows.pixels
    places = places + begins.reshape(-1, 1, 1)
    table = plane.values.op("Flatten", axis=2)
    parts = split(weights.transpose(0, 1, 3, 2), bands, blocks), split(places, bands, blocks)
    found = [table[place].transpose(0, 1, 3, 2) @ part for part, place in zip(*parts, strict=True)]
    cells = joined(found).transpose(0, 2, 1, 3).reshape(0, 0, blocks * BLOCK)
    return cells.slice(0, count, 2) if count % BLOCK else cells


def _rows_reached(w: GraphWriter, axis: Axis, cells: Value, radius: Value, count: int) -> Value:
    """Return (N, blocks, 1, length) float32: consecutive rows with all that a block reaches."""
    length = (axis.size * ((BLOCK + 1) / count)).maximum(float(BLOCK + 1)).op("Ceil")
    length = (length + 2.0).minimum(axis.size)
    first = (cells.slice(0, 1, 2) - radius).op("Floor").op("Relu")
    return first.minimum(axis.size - length) + counting(w, length)
