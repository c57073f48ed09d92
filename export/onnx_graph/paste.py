"""Putting probabilities back inside the graph, and deciding: no float plane is ever whole.

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
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec, Size

_TINY = 1e-6
_SPARE = 4
"""Rows of a block beyond its share: two for rounding, and the last row is outside every box."""


@dataclass(frozen=True)
class _Pixels:
    """How cells become the pixels of an axis, block by block.

    ``weights`` (N, blocks, rows, reach) float32. ``read`` (1, blocks, reach) int64: the cells that
    a block reads. ``places`` (N, size) int64: where each pixel is among the rows of all blocks,
    which are ``rows``, int64 (1,).
    """

    cells: Cells
    weights: str
    read: str
    places: str
    rows: str


def paste(
    w: GraphWriter,
    spec: CascadeSpec,
    probability: str,
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
    turned = w.op("Transpose", probability, perm=[0, 1, 3, 2])
    begins = _begins(w, image, spec.channels)
    (columns,) = _products(w, wide, turned, begins, 1)
    places = w.op("Unsqueeze", wide.places, w.ints(1))
    places = w.op("Add", places, w.op("Mul", begins, wide.rows))
    columns = w.op("Gather", w.op("Flatten", columns, axis=4), places, axis=0)
    plane = w.op("Transpose", columns, perm=[0, 1, 3, 2])  # (N, C, h, W)
    many = spec.channels > BANDS  # a band has all classes, so more classes want more bands
    cells = Cells(size.height, max(1, size.height // (2 * spec.channels)) if many else BLOCK)
    bands = cells.blocks if many else BANDS
    tall = _pixels(w, image.rows, spans[0], cells, shortest[0])
    products = _products(w, tall, plane, begins, bands)
    labels = w.op("Flatten", joined(w, [decided(w, spec, band) for band in products]), axis=3)
    rows = w.op("Mul", w.op("Reshape", image.numbers, w.ints(-1, 1)), tall.rows)
    labels = w.op("Gather", labels, w.op("Add", tall.places, rows), axis=0)
    write_mask(w, spec, labels)


def write_mask(w: GraphWriter, spec: CascadeSpec, labels: str) -> None:
    """Write ``mask`` of (N, H, W) labels: TensorRT converts nothing but floats to uint8."""
    floats = w.op("Cast", labels, to=TensorProto.FLOAT16) if spec.binary else labels
    w.op("Cast", floats, name="mask", to=TensorProto.UINT8)


def decided(w: GraphWriter, spec: CascadeSpec, probability: str) -> str:
    """Return (N, ...) labels of (N, C, ...) probabilities in a narrow type that may be looked up.

    bool when binary, else float16, exact up to 2048: TensorRT takes uint8 for outputs alone.
    """
    if spec.binary:
        first = w.op("Squeeze", probability, w.ints(1))
        return w.op("Greater", first, w.constant(spec.mask_threshold))
    return w.op("Cast", w.op("ArgMax", probability, axis=1, keepdims=0), to=TensorProto.FLOAT16)


def _begins(w: GraphWriter, image: Plane, channels: int) -> str:
    """Return (N, C, 1) int64: 0, 1, ... for every plane of every image."""
    numbers = w.op("Mul", w.op("Reshape", image.numbers, w.ints(-1, 1, 1)), w.ints(channels))
    return w.op("Add", numbers, w.array(np.arange(channels).reshape(1, channels, 1)))


def _products(
    w: GraphWriter, pixels: _Pixels, plane: str, begins: str, bands: int
) -> Iterator[str]:
    """Yield the blocks of pixels (N, C, blocks, rows, M) of cells (N, C, count, M), in bands."""
    blocks = pixels.cells.blocks
    bands = min(bands, blocks)
    first = w.op("Unsqueeze", w.op("Mul", begins, w.ints(pixels.cells.count)), w.ints(3))
    places = w.op("Add", pixels.read, first)  # (N, C, blocks, reach)
    weights = w.op("Unsqueeze", pixels.weights, w.ints(1))
    table = w.op("Flatten", plane, axis=3)
    parts = split(w, weights, bands, blocks, 2), split(w, places, bands, blocks, 2)
    for part, place in zip(*parts, strict=True):
        yield w.op("MatMul", part, w.op("Gather", table, place, axis=0))


def _pixels(w: GraphWriter, axis: Axis, span: Span, cells: Cells, shortest: int | None) -> _Pixels:
    """Return how the cells of a span of an axis become its pixels."""
    scale = w.op("Div", w.op("Sub", span[1], span[0]), w.constant(float(cells.count)))
    first = w.op("Floor", w.op("Add", span[0], w.op("Mul", w.array(cells.starts), scale)))
    first = w.op("Sub", first, w.constant(1.0))  # (N, blocks, 1, 1), a pixel too early
    rows = w.op("Ceil", w.op("Mul", axis.size, w.constant(cells.block / cells.count)))
    rows = w.op("Add", rows, w.constant(float(_SPARE)))
    column = w.op("Unsqueeze", counting(w, rows), w.ints(1))
    at = _in_cells(w, w.op("Add", first, column), span[0], scale)
    read = _cells_reached(w, axis, cells, shortest)
    total = w.op("Mul", rows, w.constant(float(cells.blocks)))
    return _Pixels(
        cells,
        _weights(w, at, read, scale, cells.count),
        w.op("Cast", w.op("Squeeze", read, w.ints(2)), to=TensorProto.INT64),
        _places(w, axis, span[0], scale, first, rows, cells),
        w.op("Cast", total, to=TensorProto.INT64),
    )


def _in_cells(w: GraphWriter, pixels: str, start: str, scale: str) -> str:
    """Return where the centres of pixels are, in cells of the span."""
    return w.op("Div", w.op("Sub", w.op("Add", pixels, w.constant(0.5)), start), scale)


def _inside(w: GraphWriter, at: str, count: int) -> str:
    """Return 1.0 where a place in cells is inside the span, else 0.0."""
    low = w.op("GreaterOrEqual", at, w.constant(0.0))
    high = w.op("Less", at, w.constant(float(count)))
    return w.op("Cast", w.op("And", low, high), to=TensorProto.FLOAT)


def _weights(w: GraphWriter, at: str, cells: str, scale: str, count: int) -> str:
    """Return (N, blocks, rows, reach): each pixel's share of the cells; zero outside the span."""
    radius = w.op("Max", w.op("Div", w.constant(1.0), scale), w.constant(1.0))
    weights = triangle(w, w.op("Sub", at, w.op("Add", cells, w.constant(0.5))), radius)
    total = w.op("ReduceSum", weights, w.ints(3), keepdims=1)
    weights = w.op("Div", weights, w.op("Max", total, w.constant(_TINY)))
    return w.op("Mul", weights, _inside(w, at, count))


def _cells_reached(w: GraphWriter, axis: Axis, cells: Cells, shortest: int | None) -> str:
    """Return (1, blocks, 1, reach) float32: consecutive cells with all that a block reaches.

    A pixel reaches one cell to both sides, and more where the span has fewer pixels than cells.
    """
    side = axis.size
    if shortest is not None:
        side = w.op("Min", side, w.constant(float(shortest)))
    count = w.constant(float(cells.count))
    beyond = w.op("Ceil", w.op("Div", count, side))
    reach = w.op("Add", w.op("Mul", beyond, w.constant(2.0)), w.constant(float(cells.block)))
    reach = w.op("Min", reach, count)
    first = w.op("Relu", w.op("Sub", w.array(cells.starts), beyond))
    first = w.op("Min", first, w.op("Sub", count, reach))
    return w.op("Add", first, counting(w, reach))


def _places(
    w: GraphWriter, axis: Axis, start: str, scale: str, first: str, rows: str, cells: Cells
) -> str:
    """Return (N, size) int64: the row of each pixel, and for those outside the span the last."""
    blocks = w.constant(float(cells.blocks))
    pixels = counting(w, axis.size)
    at = _in_cells(w, pixels, start, scale)  # (N, 1, 1, size)
    block = w.op("Relu", w.op("Floor", w.op("Div", at, w.constant(float(cells.block)))))
    block = w.op("Min", block, w.constant(float(cells.blocks - 1)))
    chosen = w.op("Cast", block, to=TensorProto.INT64)
    begins = w.op("GatherElements", w.op("Transpose", first, perm=[0, 2, 3, 1]), chosen, axis=3)
    place = w.op("Add", w.op("Mul", block, rows), w.op("Sub", pixels, begins))
    last = w.op("Sub", w.op("Mul", rows, blocks), w.constant(1.0))
    inside = _inside(w, at, cells.count)
    place = w.op("Add", last, w.op("Mul", inside, w.op("Sub", place, last)))
    return w.op("Cast", w.op("Squeeze", place, w.ints(1, 2)), to=TensorProto.INT64)
