"""Tiles as ONNX operators: which are chosen and what stage 2 sees there.

The same steps as ``foveate.train.reference.tiles``, in the same order. Pixels are read by Gather
with indices computed in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import helper

from foveate.export.onnx_graph.resample import Axis, Plane, shares, steps
from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.tiles import TileAxis, TileGrid, tile_grid
from foveate.train.reference.tiles import MASS_STEPS, ROUND_MASS


@dataclass(frozen=True)
class GridLine:
    """One axis of the grid in the graph: the image's pixels and the tiles along it, int64 (1,)."""

    axis: TileAxis
    size: Value
    count: Value


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
    top: Value
    left: Value
    slots: Value
    batch: Value
    chosen: Value


def choose_tiles(w: GraphWriter, spec: CascadeSpec, image: Plane, foreground: Value) -> ChosenTiles:
    """Write which tiles of an image are looked at, by the (N, h1, w1) foreground."""
    assert spec.stage2 is not None
    grid = tile_grid(spec.region, spec.stage2)
    rows, columns = _line(grid.rows, image.rows), _line(grid.columns, image.columns)
    batch = image.numbers.reshape(-1, 1, 1)
    total = rows.count * columns.count
    numbers = steps(w, total)
    chosen = total
    if spec.region.tiles:
        chosen = total.minimum(spec.region.tiles)
        masses = _masses(w, spec, foreground, rows, columns)
        order = _best(w, _keys(masses, numbers, total), spec.region.tiles, chosen)
        slots = _slots(w, order, numbers, chosen)
    else:
        everywhere = concat(image.numbers.op("Shape"), total, axis=0)
        order = slots = numbers.unsqueeze(0).op("Expand", everywhere)
    row = order / columns.count
    column = order - row * columns.count
    top, left = row * grid.rows.stride, column * grid.columns.stride
    return ChosenTiles(grid, rows, columns, top, left, slots, batch, chosen)


def _line(axis: TileAxis, pixels: Axis) -> GridLine:
    """Return an axis of the image with the number of tiles that cover it."""
    reach = pixels.pixels + (axis.stride - 1 - axis.shared)
    return GridLine(axis, pixels.pixels, (reach / axis.stride).maximum(1))


def _masses(
    w: GraphWriter, spec: CascadeSpec, foreground: Value, rows: GridLine, columns: GridLine
) -> Value:
    """Return (N, T): the squared foreground in each tile's core."""
    tall = _core_weights(w, rows, spec.stage1.height)
    wide = _core_weights(w, columns, spec.stage1.width).transpose(1, 0)
    squared = foreground * foreground
    return (tall @ squared @ wide).reshape(0, -1)


def _core_weights(w: GraphWriter, line: GridLine, cells: int) -> Value:
    """Return (T, cells): how many pixels of each coarse cell lie in the core of each tile."""
    size = line.size.to_float()
    number = steps(w, line.count).to_float().unsqueeze(1)
    stride, half = w.constant(float(line.axis.stride)), w.constant(line.axis.shared / 2)
    cut = number * stride + half
    next_cut = cut + stride
    first = (number < 0.5).to_float()
    last = line.count.to_float() - 1.5
    last = (number > last).to_float()
    start = cut * (1.0 - first)
    stop = next_cut + (size - next_cut) * last
    index = np.arange(cells + 1, dtype=np.float32)
    edges = [w.array(part) * size / float(cells) for part in (index[:-1], index[1:])]
    share = stop.minimum(edges[1]) - start.maximum(edges[0])
    return share.maximum(0.0)


def _keys(masses: Value, numbers: Value, total: Value) -> Value:
    """Return (N, T): what tiles are ordered by, no two alike."""
    counted = masses * MASS_STEPS + ROUND_MASS
    later = numbers.to_float() / total.to_float()
    return counted.op("Floor") - later


def _best(w: GraphWriter, keys: Value, count: int, chosen: Value) -> Value:
    """Return (N, R) numbers of tiles, the greatest key first.

    TensorRT takes a number in TopK that does not depend on the image's size, so ``count`` worse
    keys are put behind, and what is beyond R is cut off.
    """
    padded = keys.op("Pad", w.ints(0, 0, 0, count), w.scalar(-2.0))
    names = [f"{name}_{len(w.nodes)}" for name in ("tile_keys", "tile_order")]
    inputs = [padded.name, w.ints(count).name]
    node = helper.make_node("TopK", inputs, names, name=names[0], axis=1, largest=1, sorted=1)
    w.nodes.append(node)
    return Value(w, names[1]).slice(0, chosen, 1)


def _slots(w: GraphWriter, order: Value, numbers: Value, chosen: Value) -> Value:
    """Return (N, T): the place of each tile in the order, R where it has none."""
    same = order.unsqueeze(2).op("Equal", numbers).to_int64()
    places = (steps(w, chosen) - chosen).unsqueeze(1)
    return (same * places).reduce("Sum", 1) + chosen


def tile_boxes(tiles: ChosenTiles) -> None:
    """Write ``box``, (N, R, 4): the parts of the tiles inside the image."""
    bottom = (tiles.top + tiles.grid.rows.side).minimum(tiles.rows.size)
    right = (tiles.left + tiles.grid.columns.side).minimum(tiles.columns.size)
    sides = [side.unsqueeze(2) for side in (tiles.left, tiles.top, right, bottom)]
    concat(*sides, axis=2).to_float(name="box")


def seen(w: GraphWriter, start: Value, line: GridLine) -> tuple[Value, Value]:
    """Return the pixels (N, R, side) of an axis that tiles see, and those inside the image."""
    along = w.array(np.arange(line.axis.side, dtype=np.int64))
    pixels = start.unsqueeze(2) + along
    return pixels, pixels.minimum(line.size - 1)


def crop_tiles(w: GraphWriter, image: Plane, tiles: ChosenTiles) -> Value:
    """Return (N, R, C, h2, w2) of an image; beyond it its edge is repeated. Grey has no C."""
    _, rows = seen(w, tiles.top, tiles.rows)
    _, columns = seen(w, tiles.left, tiles.columns)
    lines = tiles.batch * tiles.rows.size + rows
    places = (lines * tiles.columns.size).unsqueeze(3) + columns.unsqueeze(2)
    if image.channels == 1:
        return image.values.reshape(-1)[places]
    return image.values.reshape(-1, image.channels)[places].transpose(0, 1, 4, 2, 3)


def crop_hints(w: GraphWriter, spec: CascadeSpec, foreground: Value, tiles: ChosenTiles) -> Value:
    """Return (N, R, h2, w2): stage 1's foreground (N, h1, w1) on the tiles."""
    size = spec.stage1
    row_index, row_weights = _cells(w, tiles.top, tiles.rows, size.height)
    column_index, column_weights = _cells(w, tiles.left, tiles.columns, size.width)
    lines = tiles.batch * size.height + row_index
    places = (lines * size.width).unsqueeze(3) + column_index.unsqueeze(2)
    under = foreground.reshape(-1)[places]
    return row_weights @ under @ column_weights.transpose(0, 1, 3, 2)


def _cells(w: GraphWriter, start: Value, line: GridLine, cells: int) -> tuple[Value, Value]:
    """Return the coarse cells under each tile along one axis, (N, R, c) int64, and their weights.

    The weights are (N, R, side, c), rows that resample the cells at the tile's pixels. c follows
    from the image's size and is the same for all tiles.
    """
    scale = float(cells) / line.size.to_float()
    radius = scale.maximum(1.0)
    first, count = _reached(w, start, line, cells, (scale, radius))
    index = first.unsqueeze(2) + steps(w, count)
    middle = (index.to_float() + 0.5).unsqueeze(2)
    _, pixels = seen(w, start, line)
    centres = (pixels.to_float() + 0.5) * scale
    return index, shares(middle - centres.unsqueeze(3), radius)


def _reached(
    w: GraphWriter, start: Value, line: GridLine, cells: int, filter_: tuple[Value, Value]
) -> tuple[Value, Value]:
    """Return the first cell (N, R) that a tile's filter can reach, and how many from there (1,)."""
    scale, radius = filter_
    reach = (scale * float(line.axis.side) + radius * 2.0).op("Ceil")
    count = (reach.to_int64() + 2).minimum(cells)
    centre = (start.to_float() + 0.5) * scale
    first = (centre - (radius + 0.5)).op("Floor").to_int64().maximum(0)
    return first.minimum(w.op("Sub", cells, count)), count
