"""Tiles as ONNX operators: which are chosen and what stage 2 sees there.

The same steps as ``foveate.train.reference.tiles``, in the same order. Pixels are read by Gather
with indices computed in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from foveate.export.onnx_graph.resample import Axis, Plane, shares, steps
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.tiles import TileAxis, TileGrid, tile_grid
from foveate.train.reference.tiles import MASS_STEPS, ROUND_MASS


@dataclass(frozen=True)
class GridLine:
    """One axis of the grid in the graph: the image's pixels and the tiles along it, int64 (1,)."""

    axis: TileAxis
    size: str
    count: str


@dataclass(frozen=True)
class ChosenTiles:
    """R tiles chosen in the graph, best first: K, or all where there are no more than that.

    ``top`` and ``left`` are their first pixels, (N, R) int64. ``slots`` (N, T) int64 is the place
    of each tile of the grid among the R, R where it was not chosen. ``batch`` is 0 to N - 1 as
    int64 (N, 1, 1), ``chosen`` is R, int64 (1,).
    """

    grid: TileGrid
    rows: GridLine
    columns: GridLine
    top: str
    left: str
    slots: str
    batch: str
    chosen: str


def choose_tiles(w: GraphWriter, spec: CascadeSpec, image: Plane, foreground: str) -> ChosenTiles:
    """Write which tiles of an image are looked at, by the (N, h1, w1) foreground."""
    assert spec.stage2 is not None
    grid = tile_grid(spec.region, spec.stage2)
    rows, columns = _line(w, grid.rows, image.rows), _line(w, grid.columns, image.columns)
    batch = w.op("Reshape", image.numbers, w.ints(-1, 1, 1))
    total = w.op("Mul", rows.count, columns.count)
    numbers = steps(w, total)
    chosen = total
    if spec.region.tiles:
        chosen = w.op("Min", total, w.ints(spec.region.tiles))
        masses = _masses(w, spec, foreground, rows, columns)
        order = _best(w, _keys(w, masses, numbers, total), spec.region.tiles, chosen)
        slots = _slots(w, order, numbers, chosen)
    else:
        everywhere = w.op("Concat", w.op("Shape", image.numbers), total, axis=0)
        order = slots = w.op("Expand", w.op("Unsqueeze", numbers, w.ints(0)), everywhere)
    row = w.op("Div", order, columns.count)
    column = w.op("Sub", order, w.op("Mul", row, columns.count))
    top = w.op("Mul", row, w.ints(grid.rows.stride))
    left = w.op("Mul", column, w.ints(grid.columns.stride))
    return ChosenTiles(grid, rows, columns, top, left, slots, batch, chosen)


def _line(w: GraphWriter, axis: TileAxis, pixels: Axis) -> GridLine:
    """Return an axis of the image with the number of tiles that cover it."""
    reach = w.op("Add", pixels.pixels, w.ints(axis.stride - 1 - axis.shared))
    count = w.op("Max", w.op("Div", reach, w.ints(axis.stride)), w.ints(1))
    return GridLine(axis, pixels.pixels, count)


def as_int(w: GraphWriter, truth: str) -> str:
    return w.op("Cast", truth, to=TensorProto.INT64)


def as_float(w: GraphWriter, whole: str) -> str:
    return w.op("Cast", whole, to=TensorProto.FLOAT)


def _masses(
    w: GraphWriter, spec: CascadeSpec, foreground: str, rows: GridLine, columns: GridLine
) -> str:
    """Return (N, T): the squared foreground in each tile's core."""
    tall = _core_weights(w, rows, spec.stage1.height)
    wide = w.op("Transpose", _core_weights(w, columns, spec.stage1.width), perm=[1, 0])
    squared = w.op("Mul", foreground, foreground)
    masses = w.op("MatMul", w.op("MatMul", tall, squared), wide)
    return w.op("Reshape", masses, w.ints(0, -1))


def _core_weights(w: GraphWriter, line: GridLine, cells: int) -> str:
    """Return (T, cells): how many pixels of each coarse cell lie in the core of each tile."""
    size = as_float(w, line.size)
    number = w.op("Unsqueeze", as_float(w, steps(w, line.count)), w.ints(1))
    stride, half = w.constant(float(line.axis.stride)), w.constant(line.axis.shared / 2)
    cut = w.op("Add", w.op("Mul", number, stride), half)
    next_cut = w.op("Add", cut, stride)
    first = w.op("Cast", w.op("Less", number, w.constant(0.5)), to=TensorProto.FLOAT)
    last = w.op("Sub", as_float(w, line.count), w.constant(1.5))
    last = w.op("Cast", w.op("Greater", number, last), to=TensorProto.FLOAT)
    start = w.op("Mul", cut, w.op("Sub", w.constant(1.0), first))
    beyond = w.op("Mul", w.op("Sub", size, next_cut), last)
    stop = w.op("Add", next_cut, beyond)
    index = np.arange(cells + 1, dtype=np.float32)
    edges = [
        w.op("Div", w.op("Mul", w.array(part), size), w.constant(float(cells)))
        for part in (index[:-1], index[1:])
    ]
    share = w.op("Sub", w.op("Min", stop, edges[1]), w.op("Max", start, edges[0]))
    return w.op("Max", share, w.constant(0.0))


def _keys(w: GraphWriter, masses: str, numbers: str, total: str) -> str:
    """Return (N, T): what tiles are ordered by, no two alike."""
    counted = w.op("Add", w.op("Mul", masses, w.constant(MASS_STEPS)), w.constant(ROUND_MASS))
    later = w.op("Div", as_float(w, numbers), as_float(w, total))
    return w.op("Sub", w.op("Floor", counted), later)


def _best(w: GraphWriter, keys: str, count: int, chosen: str) -> str:
    """Return (N, R) numbers of tiles, the greatest key first.

    TensorRT wants a number in TopK that does not depend on the image's size, so ``count`` worse
    keys are put behind, and what is beyond R is cut off.
    """
    padded = w.op("Pad", keys, w.ints(0, 0, 0, count), w.scalar(-2.0))
    values, order = (f"{name}_{len(w.nodes)}" for name in ("tile_keys", "tile_order"))
    w.ops("TopK", padded, w.ints(count), names=(values, order), axis=1, largest=1, sorted=1)
    return w.op("Slice", order, w.ints(0), chosen, w.ints(1))


def _slots(w: GraphWriter, order: str, numbers: str, chosen: str) -> str:
    """Return (N, T): the place of each tile in the order, R where it has none."""
    same = as_int(w, w.op("Equal", w.op("Unsqueeze", order, w.ints(2)), numbers))
    places = w.op("Unsqueeze", w.op("Sub", steps(w, chosen), chosen), w.ints(1))
    found = w.op("ReduceSum", w.op("Mul", same, places), w.ints(1), keepdims=0)
    return w.op("Add", found, chosen)


def tile_boxes(w: GraphWriter, tiles: ChosenTiles) -> None:
    """Write ``box``, (N, R, 4): the parts of the tiles inside the image."""
    bottom = w.op("Min", w.op("Add", tiles.top, w.ints(tiles.grid.rows.side)), tiles.rows.size)
    right = w.op("Add", tiles.left, w.ints(tiles.grid.columns.side))
    right = w.op("Min", right, tiles.columns.size)
    sides = [w.op("Unsqueeze", side, w.ints(2)) for side in (tiles.left, tiles.top, right, bottom)]
    w.op("Cast", w.op("Concat", *sides, axis=2), name="box", to=TensorProto.FLOAT)


def seen(w: GraphWriter, start: str, line: GridLine) -> tuple[str, str]:
    """Return the pixels (N, R, side) of an axis that tiles see, and those inside the image."""
    along = w.array(np.arange(line.axis.side, dtype=np.int64))
    wanted = w.op("Add", w.op("Unsqueeze", start, w.ints(2)), along)
    return wanted, w.op("Min", wanted, w.op("Sub", line.size, w.ints(1)))


def crop_tiles(w: GraphWriter, image: Plane, tiles: ChosenTiles) -> str:
    """Return (N, R, h2, w2) of an image; beyond it its edge is repeated."""
    _, rows = seen(w, tiles.top, tiles.rows)
    _, columns = seen(w, tiles.left, tiles.columns)
    lines = w.op("Add", w.op("Mul", tiles.batch, tiles.rows.size), rows)
    starts = w.op("Unsqueeze", w.op("Mul", lines, tiles.columns.size), w.ints(3))
    places = w.op("Add", starts, w.op("Unsqueeze", columns, w.ints(2)))
    return w.op("Gather", w.op("Reshape", image.name, w.ints(-1)), places, axis=0)


@dataclass(frozen=True)
class HintCells:
    """The coarse cells under each tile along one axis, (N, R, c) int64, and their weights.

    ``weights`` is (N, R, side, c), rows that resample the cells at the tile's pixels. c follows
    from the image's size and is the same for all tiles.
    """

    index: str
    weights: str


def crop_hints(w: GraphWriter, spec: CascadeSpec, foreground: str, tiles: ChosenTiles) -> str:
    """Return (N, R, h2, w2): stage 1's foreground (N, h1, w1) on the tiles."""
    size = spec.stage1
    rows = _cells(w, tiles.top, tiles.rows, size.height)
    columns = _cells(w, tiles.left, tiles.columns, size.width)
    lines = w.op("Add", w.op("Mul", tiles.batch, w.ints(size.height)), rows.index)
    starts = w.op("Unsqueeze", w.op("Mul", lines, w.ints(size.width)), w.ints(3))
    places = w.op("Add", starts, w.op("Unsqueeze", columns.index, w.ints(2)))
    under = w.op("Gather", w.op("Reshape", foreground, w.ints(-1)), places, axis=0)
    half = w.op("MatMul", rows.weights, under)
    return w.op("MatMul", half, w.op("Transpose", columns.weights, perm=[0, 1, 3, 2]))


def _cells(w: GraphWriter, start: str, line: GridLine, cells: int) -> HintCells:
    """Return what resamples one axis of ``cells`` coarse cells at the tiles' pixels."""
    scale = w.op("Div", w.constant(float(cells)), as_float(w, line.size))
    radius = w.op("Max", scale, w.constant(1.0))
    first, count = _reached(w, start, line, cells, (scale, radius))
    index = w.op("Add", w.op("Unsqueeze", first, w.ints(2)), steps(w, count))
    middle = w.op("Unsqueeze", w.op("Add", as_float(w, index), w.constant(0.5)), w.ints(2))
    _, pixels = seen(w, start, line)
    centres = w.op("Mul", w.op("Add", as_float(w, pixels), w.constant(0.5)), scale)
    offset = w.op("Sub", middle, w.op("Unsqueeze", centres, w.ints(3)))
    return HintCells(index, shares(w, offset, radius))


def _reached(
    w: GraphWriter, start: str, line: GridLine, cells: int, filter_: tuple[str, str]
) -> tuple[str, str]:
    """Return the first cell (N, R) that a tile's filter can reach, and how many from there (1,)."""
    scale, radius = filter_
    reach = w.op("Mul", scale, w.constant(float(line.axis.side)))
    reach = w.op("Ceil", w.op("Add", reach, w.op("Mul", radius, w.constant(2.0))))
    count = w.op("Min", w.op("Add", as_int(w, reach), w.ints(2)), w.ints(cells))
    centre = w.op("Mul", w.op("Add", as_float(w, start), w.constant(0.5)), scale)
    lowest = w.op("Floor", w.op("Sub", centre, w.op("Add", radius, w.constant(0.5))))
    first = w.op("Max", as_int(w, lowest), w.ints(0))
    return w.op("Min", first, w.op("Sub", w.ints(cells), count)), count
