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
from foveate.export.onnx_graph.tiles import ChosenTiles, GridLine, as_float, as_int, seen
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec
from foveate.train.reference.cascade import LEAST_SHARE

BANDS = 4
"""Parts that the rows are blended and decided in; a grid reaches over at least so many rows."""


def tile_weights(w: GraphWriter, tiles: ChosenTiles) -> str:
    """Return (N, R, h2, w2): each tile's window, 0 beyond the image."""
    rows, columns = (
        as_float(w, w.op("Less", seen(w, start, line)[0], line.size))
        for start, line in ((tiles.top, tiles.rows), (tiles.left, tiles.columns))
    )
    rows = w.op("Mul", rows, w.array(tiles.grid.rows.window()))
    columns = w.op("Mul", columns, w.array(tiles.grid.columns.window()))
    return w.op("Mul", w.op("Unsqueeze", rows, w.ints(3)), w.op("Unsqueeze", columns, w.ints(2)))


def tile_mask(
    w: GraphWriter, spec: CascadeSpec, probability: str, weights: str, tiles: ChosenTiles
) -> None:
    """Write ``mask``: the blend of (N * R, C, h2, w2) probabilities, decided; 0 where no tile is.

    The blend is not divided by the sum of the windows: neither a sign nor the greatest of several
    classes needs it.
    """
    votes = probability
    if spec.binary:
        votes = w.op("Sub", probability, w.constant(spec.mask_threshold))
    labels = []
    for band in _blended(w, votes, weights, spec.channels, tiles):
        if spec.binary:
            labels.append(w.op("Greater", w.op("Squeeze", band, w.ints(1)), w.constant(0.0)))
        else:
            labels.append(decided(w, spec, band))
    whole = w.op("Concat", *labels, axis=1)
    sides = w.op("Concat", w.ints(0), _reach(w, tiles.rows), w.ints(-1), axis=0)
    ends = w.op("Concat", tiles.rows.size, tiles.columns.size, axis=0)
    inside = w.op("Slice", w.op("Reshape", whole, sides), w.ints(0, 0), ends, w.ints(1, 2))
    write_mask(w, spec, inside)


def _blended(
    w: GraphWriter, votes: str, weights: str, channels: int, tiles: ChosenTiles
) -> Iterator[str]:
    """Yield (N, C, rows, runs, segment) in bands of rows, over all that the grid reaches.

    They are (N * R, C, h2, w2) votes times their windows, summed; 0 where no tile is.
    """
    rows, columns = tiles.grid.rows, tiles.grid.columns
    window = w.op("Reshape", weights, w.ints(-1, 1, rows.side, columns.side))
    runs = w.op("Reshape", w.op("Mul", votes, window), w.ints(-1, columns.segment))
    zeros = w.array(np.zeros((1, columns.segment), np.float32))
    none = w.op("Slice", w.op("Shape", runs), w.ints(0), w.ints(1), w.ints(0))
    runs = w.op("Concat", runs, zeros, axis=0)
    across = w.op("Div", _reach(w, tiles.columns), w.ints(columns.segment))
    holders = _holders(w, tiles.columns, columns.segment, steps(w, across))
    for lines in _bands(w, _reach(w, tiles.rows)):
        total = ""
        for row in _holders(w, tiles.rows, 1, lines):
            for column in holders:
                index = _run_index(w, row, column, channels, tiles, none)
                part = w.op("Gather", runs, index, axis=0)
                total = w.op("Add", total, part) if total else part
        yield total


def _bands(w: GraphWriter, count: str) -> Iterator[str]:
    """Yield the numbers below ``count`` in bands, so that no float plane is ever whole."""
    numbers = steps(w, count)
    ends = [
        w.op("Div", w.op("Mul", count, w.ints(band)), w.ints(BANDS)) for band in range(BANDS + 1)
    ]
    for start, stop in pairwise(ends):
        yield w.op("Slice", numbers, start, stop, w.ints(0))


def _reach(w: GraphWriter, line: GridLine) -> str:
    """Return the pixels that the tiles of an axis reach over, int64 (1,), no less than its size."""
    last = w.op("Mul", w.op("Sub", line.count, w.ints(1)), w.ints(line.axis.stride))
    return w.op("Add", last, w.ints(line.axis.side))


@dataclass(frozen=True)
class Holder:
    """For each run along an axis: a tile that holds it, and which of the tile's runs it is.

    ``held`` is 0 where there is no such tile, "" where there always is one. All int64.
    """

    tile: str
    place: str
    held: str


def _holders(w: GraphWriter, line: GridLine, run: int, runs: str) -> list[Holder]:
    """Return the last tile that holds each run of ``run`` pixels, and the one before it if any."""
    stride, side = line.axis.stride // run, line.axis.side // run
    last = w.op("Sub", line.count, w.ints(1))
    tile = w.op("Min", w.op("Div", runs, w.ints(stride)), last)
    place = w.op("Sub", runs, w.op("Mul", tile, w.ints(stride)))
    found = [Holder(tile, place, "")]
    if line.axis.shared:
        before, further = w.op("Sub", tile, w.ints(1)), w.op("Add", place, w.ints(stride))
        held = w.op(
            "Mul",
            as_int(w, w.op("GreaterOrEqual", before, w.ints(0))),
            as_int(w, w.op("Less", further, w.ints(side))),
        )
        found.append(Holder(w.op("Mul", before, held), w.op("Mul", further, held), held))
    return found


def _run_index(
    w: GraphWriter, row: Holder, column: Holder, channels: int, tiles: ChosenTiles, none: str
) -> str:
    """Return (N, C, rows, runs) int64: where in the list of runs each run of the image is."""
    across = tiles.grid.columns.side // tiles.grid.columns.segment
    row_tiles = w.op("Mul", w.op("Unsqueeze", row.tile, w.ints(1)), tiles.columns.count)
    number = w.op("Add", row_tiles, column.tile)
    slot = w.op("Gather", tiles.slots, number, axis=1)
    held = as_int(w, w.op("Less", slot, tiles.chosen))
    for holder, axis in ((row, 1), (column, 0)):
        if holder.held:
            held = w.op("Mul", held, w.op("Unsqueeze", holder.held, w.ints(axis)))
    tile = w.op("Add", w.op("Mul", tiles.batch, tiles.chosen), slot)
    tile = w.op("Unsqueeze", w.op("Mul", tile, w.ints(channels)), w.ints(1))
    plane = w.op("Add", tile, w.array(np.arange(channels, dtype=np.int64).reshape(1, -1, 1, 1)))
    line = w.op("Mul", plane, w.ints(tiles.grid.rows.side))
    line = w.op("Add", line, w.op("Unsqueeze", row.place, w.ints(1)))
    index = w.op("Add", w.op("Mul", line, w.ints(across)), column.place)
    held = w.op("Unsqueeze", held, w.ints(1))
    nowhere = w.op("Mul", w.op("Sub", w.ints(1), held), none)
    return w.op("Add", w.op("Mul", index, held), nowhere)


def tile_score(w: GraphWriter, winning: str, chosen: str, weights: str, tiles: ChosenTiles) -> None:
    """Write ``score`` of (N * R, h2, w2) winning probabilities where they are foreground."""
    sides = w.op("Shape", weights)
    share = w.op("Mul", w.op("Reshape", chosen, sides), weights)
    sums = []
    for plane in (w.op("Mul", w.op("Reshape", winning, sides), share), share):
        lines = w.op("ReduceSum", plane, w.ints(3), keepdims=0)
        sums.append(w.op("ReduceSum", lines, w.ints(1, 2), keepdims=0))
    w.op("Div", sums[0], w.op("Max", sums[1], w.constant(LEAST_SHARE)), name="score")
