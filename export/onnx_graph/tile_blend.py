"""Tiles put back into the image, and their score, as ONNX operators.

Tiles are put back by Gather, in runs of pixels that no tile's edge cuts: every run lies in at most
2 x 2 tiles of the grid, whichever were chosen: four gathers and three sums make the mask, however
many tiles there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foveate.export.onnx_graph.paste import decided, write_mask
from foveate.export.onnx_graph.resample import steps
from foveate.export.onnx_graph.tiles import ChosenTiles, GridLine, seen
from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.spec import CascadeSpec
from foveate.train.reference.cascade import LEAST_SHARE

BANDS = 4
"""Parts that the rows are blended and decided in; a grid reaches over at least so many rows."""


def tile_weights(w: GraphWriter, tiles: ChosenTiles) -> Value:
    """Return (N, R, h2, w2): each tile's window, 0 beyond the image."""
    rows, columns = (
        (seen(w, start, line)[0] < line.size).to_float()
        for start, line in ((tiles.top, tiles.rows), (tiles.left, tiles.columns))
    )
    rows = rows * w.array(tiles.grid.rows.window())
    columns = columns * w.array(tiles.grid.columns.window())
    return rows.unsqueeze(3) * columns.unsqueeze(2)


def tile_mask(
    w: GraphWriter, spec: CascadeSpec, probability: Value, weights: Value, tiles: ChosenTiles
) -> None:
    """Write ``mask``: the blend of (N * R, C, h2, w2) probabilities, decided; 0 where no tile is.

    The blend is not divided by the sum of the windows: neither a sign nor the greatest of several
    classes needs it.
    """
    votes = probability - float(spec.mask_threshold) if spec.binary else probability
    labels = [
        band.squeeze(1) > 0.0 if spec.binary else decided(spec, band)
        for band in _blended(w, votes, weights, spec.output_channels, tiles)
    ]
    whole = concat(*labels, axis=1)
    sides = concat(w.ints(0), _reach(tiles.rows), w.ints(-1), axis=0)
    ends = concat(tiles.rows.size, tiles.columns.size, axis=0)
    inside = whole.op("Reshape", sides).op("Slice", w.ints(0, 0), ends, w.ints(1, 2))
    write_mask(spec, inside)


def _blended(
    w: GraphWriter, votes: Value, weights: Value, channels: int, tiles: ChosenTiles
) -> Iterator[Value]:
    """Yield (N, C, rows, runs, segment) in bands of rows, over all that the grid reaches.

    They are (N * R, C, h2, w2) votes times their windows, summed; 0 where no tile is.
    """
    rows, columns = tiles.grid.rows, tiles.grid.columns
    window = weights.reshape(-1, 1, rows.side, columns.side)
    runs = (votes * window).reshape(-1, columns.segment)
    zeros = w.array(np.zeros((1, columns.segment), np.float32))
    none = runs.op("Shape").slice(0, 1, 0)
    runs = concat(runs, zeros, axis=0)
    across = _reach(tiles.columns) / columns.segment
    holders = _holders(tiles.columns, columns.segment, steps(w, across))
    for lines in _bands(w, _reach(tiles.rows)):
        total: Value | None = None
        for row in _holders(tiles.rows, 1, lines):
            for column in holders:
                part = runs[_run_index(w, row, column, channels, tiles, none)]
                total = total + part if total else part
        assert total is not None
        yield total


def _bands(w: GraphWriter, count: Value) -> Iterator[Value]:
    """Yield the numbers below ``count`` in bands, so that no float plane is ever whole."""
    numbers = steps(w, count)
    ends = [count * band / BANDS for band in range(BANDS + 1)]
    for start, stop in pairwise(ends):
        yield numbers.slice(start, stop, 0)


def _reach(line: GridLine) -> Value:
    """Return the pixels that the tiles of an axis reach over, int64 (1,), no less than its size."""
    return (line.count - 1) * line.axis.stride + line.axis.side


@dataclass(frozen=True)
class Holder:
    """For each run along an axis: a tile that holds it, and which of the tile's runs it is.

    ``held`` is 0 where there is no such tile, None where there always is one. All int64.
    """

    tile: Value
    place: Value
    held: Value | None = None


def _holders(line: GridLine, run: int, runs: Value) -> list[Holder]:
    """Return the last tile that holds each run of ``run`` pixels, and the one before it if any."""
    stride, side = line.axis.stride // run, line.axis.side // run
    last = line.count - 1
    tile = (runs / stride).minimum(last)
    place = runs - tile * stride
    found = [Holder(tile, place)]
    if line.axis.shared:
        before, further = tile - 1, place + stride
        held = (before >= 0).to_int64() * (further < side).to_int64()
        found.append(Holder(before * held, further * held, held))
    return found


def _run_index(
    w: GraphWriter, row: Holder, column: Holder, channels: int, tiles: ChosenTiles, none: Value
) -> Value:
    """Return (N, C, rows, runs) int64: where in the list of runs each run of the image is."""
    across = tiles.grid.columns.side // tiles.grid.columns.segment
    number = row.tile.unsqueeze(1) * tiles.columns.count + column.tile
    slot = tiles.slots.op("Gather", number, axis=1)
    held = (slot < tiles.chosen).to_int64()
    for holder, axis in ((row, 1), (column, 0)):
        if holder.held:
            held = held * holder.held.unsqueeze(axis)
    tile = tiles.batch * tiles.chosen + slot
    tile = (tile * channels).unsqueeze(1)
    plane = tile + w.array(np.arange(channels, dtype=np.int64).reshape(1, -1, 1, 1))
    line = plane * tiles.grid.rows.side + row.place.unsqueeze(1)
    index = line * across + column.place
    held = held.unsqueeze(1)
    nowhere = w.op("Sub", 1, held) * none
    return index * held + nowhere


def tile_score(winning: Value, chosen: Value, weights: Value) -> None:
    """Write ``score`` of (N * R, h2, w2) winning probabilities where they are foreground."""
    sides = weights.op("Shape")
    share = chosen.op("Reshape", sides) * weights
    sums = []
    for plane in (winning.op("Reshape", sides) * share, share):
        sums.append(plane.reduce("Sum", 3).reduce("Sum", 1, 2))
    sums[0].op("Div", sums[1].maximum(LEAST_SHARE), name="score")
