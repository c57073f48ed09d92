"""Put probabilities back into the image, and decide: no float plane is ever whole.

As in ``resample`` by blocks: the pixels that lie over a block of cells, as many as
the largest box can have, are one product. A band of blocks is decided at once, and only labels are
put together: each row of the image is looked up in the block that holds it. Rows outside the box
are looked up in one that is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from foveate.export.onnx_graph.resample import (
    BANDS,
    BLOCK,
    Axis,
    Cells,
    Plane,
    Span,
    counting,
    joined,
    split,
    triangle,
)
from foveate.export.onnx_graph.writer import GraphWriter, Value
from foveate.runtime.spec import CascadeSpec, Size

_TINY = 1e-6
_SPARE = 4.0
"""Rows of a block beyond its share: two for rounding, and the last row is outside every box."""


@dataclass(frozen=True)
class _Pixels:
    """How cells become the pixels of an axis, block by block.

    ``weights`` (N, blocks, rows, reach) float32. ``read`` (1, blocks, reach) int64: the cells that
    a block reads. ``places`` (N, size) int64: where each pixel is among the rows of all blocks,
    which are ``rows``, int64 (1,).
    """

    cells: Cells
    weights: Value
    read: Value
    places: Value
    rows: Value


def paste(
    w: GraphWriter,
    spec: CascadeSpec,
    probability: Value,
    image: Plane,
    spans: tuple[Span, Span],
    least: Size | None,
) -> None:
    """Write ``mask`` from (N, C, h, w) probabilities that lie on spans of the rows and columns.

    ``least``: a span is no shorter unless the axis is; None: it is the whole axis.
    """
    size = spec.stage2 or spec.stage1
    shortest = (least.height, least.width) if least else (None, None)
    wide = _pixels(w, image.columns, spans[1], Cells(size.width), shortest[1])
    turned = probability.transpose(0, 1, 3, 2)
    begins = _begins(w, image, spec.output_channels)
    (columns,) = _products(wide, turned, begins, 1)
    places = wide.places.unsqueeze(1) + begins * wide.rows
    plane = columns.op("Flatten", axis=4)[places].transpose(0, 1, 3, 2)  # (N, C, h, W)
    classes = spec.output_channels
    many = classes > BANDS  # a band has all classes, so more classes need more bands
    cells = Cells(size.height, max(1, size.height // (2 * classes)) if many else BLOCK)
    bands = cells.blocks if many else BANDS
    tall = _pixels(w, image.rows, spans[0], cells, shortest[0])
    products = _products(tall, plane, begins, bands)
    labels = joined([decided(spec, band) for band in products]).op("Flatten", axis=3)
    rows = image.numbers.reshape(-1, 1) * tall.rows
    write_mask(spec, labels[tall.places + rows])


def write_mask(spec: CascadeSpec, labels: Value) -> None:
    """Write ``mask`` of (N, H, W) labels: TensorRT converts nothing but floats to uint8."""
    floats = labels.op("Cast", to=TensorProto.FLOAT16) if spec.binary else labels
    floats.op("Cast", name="mask", to=TensorProto.UINT8)


def decided(spec: CascadeSpec, probability: Value) -> Value:
    """Return (N, ...) labels of (N, C, ...) probabilities in a narrow type that may be looked up.

    bool when binary, else float16, exact up to 2048: TensorRT takes uint8 for outputs alone.
    """
    if spec.binary:
        return probability.squeeze(1) > float(spec.mask_threshold)
    return probability.op("ArgMax", axis=1, keepdims=0).op("Cast", to=TensorProto.FLOAT16)


def _begins(w: GraphWriter, image: Plane, channels: int) -> Value:
    """Return (N, C, 1) int64: 0, 1, ... for every plane of every image."""
    numbers = image.numbers.reshape(-1, 1, 1) * channels
    return numbers + w.array(np.arange(channels).reshape(1, channels, 1))


def _products(pixels: _Pixels, plane: Value, begins: Value, bands: int) -> Iterator[Value]:
    """Yield the blocks of pixels (N, C, blocks, rows, M) of cells (N, C, count, M), in bands."""
    blocks = pixels.cells.blocks
    bands = min(bands, blocks)
    first = (begins * pixels.cells.count).unsqueeze(3)
    places = pixels.read + first  # (N, C, blocks, reach)
    weights = pixels.weights.unsqueeze(1)
    table = plane.op("Flatten", axis=3)
    parts = split(weights, bands, blocks, 2), split(places, bands, blocks, 2)
    for part, place in zip(*parts, strict=True):
        yield part @ table[place]


def _pixels(w: GraphWriter, axis: Axis, span: Span, cells: Cells, shortest: int | None) -> _Pixels:
    """Return how the cells of a span of an axis become its pixels."""
    scale = (span[1] - span[0]) / float(cells.count)
    first = (span[0] + w.array(cells.starts) * scale).op("Floor")
    first = first - 1.0  # (N, blocks, 1, 1), a pixel too early
    rows = (axis.size * (cells.block / cells.count)).op("Ceil") + _SPARE
    at = _in_cells(first + counting(w, rows).unsqueeze(1), span[0], scale)
    read = _cells_reached(w, axis, cells, shortest)
    total = rows * float(cells.blocks)
    return _Pixels(
        cells,
        _weights(at, read, scale, cells.count),
        read.squeeze(2).to_int64(),
        _places(w, axis, span[0], scale, first, rows, cells),
        total.to_int64(),
    )


def _in_cells(pixels: Value, start: Value, scale: Value) -> Value:
    """Return where the centres of pixels are, in cells of the span."""
    return (pixels + 0.5 - start) / scale


def _inside(at: Value, count: int) -> Value:
    """Return 1.0 where a place in cells is inside the span, else 0.0."""
    low = at >= 0.0
    high = at < float(count)
    return low.op("And", high).to_float()


def _weights(at: Value, cells: Value, scale: Value, count: int) -> Value:
    """Return (N, blocks, rows, reach): each pixel's share of the cells; zero outside the span."""
    radius = (1.0 / scale).maximum(1.0)
    weights = triangle(at - (cells + 0.5), radius)
    total = weights.reduce("Sum", 3, keep=True)
    return weights / total.maximum(_TINY) * _inside(at, count)


def _cells_reached(w: GraphWriter, axis: Axis, cells: Cells, shortest: int | None) -> Value:
    """Return (1, blocks, 1, reach) float32: consecutive cells with all that a block reaches.

    A pixel reaches one cell to both sides, and more where the span has fewer pixels than cells.
    """
    side = axis.size if shortest is None else axis.size.minimum(float(shortest))
    count = w.constant(float(cells.count))
    beyond = (count / side).op("Ceil")
    reach = (beyond * 2.0 + float(cells.block)).minimum(count)
    first = (w.array(cells.starts) - beyond).op("Relu").minimum(count - reach)
    return first + counting(w, reach)


def _places(
    w: GraphWriter, axis: Axis, start: Value, scale: Value, first: Value, rows: Value, cells: Cells
) -> Value:
    """Return (N, size) int64: the row of each pixel, and for those outside the span the last."""
    blocks = w.constant(float(cells.blocks))
    pixels = counting(w, axis.size)
    at = _in_cells(pixels, start, scale)  # (N, 1, 1, size)
    block = (at / float(cells.block)).op("Floor").op("Relu").minimum(float(cells.blocks - 1))
    chosen = block.to_int64()
    begins = first.transpose(0, 2, 3, 1).op("GatherElements", chosen, axis=3)
    place = block * rows + (pixels - begins)
    last = rows * blocks - 1.0
    inside = _inside(at, cells.count)
    return (last + inside * (place - last)).squeeze(1, 2).to_int64()
