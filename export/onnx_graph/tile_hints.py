"""Stage 1's opinion on the tiles, as ONNX operators: of the few cells that each tile covers."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.export.onnx_graph.resample import shares, steps
from foveate.export.onnx_graph.tiles import ChosenTiles, GridLine, as_float, as_int, seen
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec


@dataclass(frozen=True)
class Cells:
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


def _cells(w: GraphWriter, start: str, line: GridLine, cells: int) -> Cells:
    """Return what resamples one axis of ``cells`` coarse cells at the tiles' pixels."""
    scale = w.op("Div", w.constant(float(cells)), as_float(w, line.size))
    radius = w.op("Max", scale, w.constant(1.0))
    first, count = _reached(w, start, line, cells, (scale, radius))
    index = w.op("Add", w.op("Unsqueeze", first, w.ints(2)), steps(w, count))
    middle = w.op("Unsqueeze", w.op("Add", as_float(w, index), w.constant(0.5)), w.ints(2))
    _, pixels = seen(w, start, line)
    centres = w.op("Mul", w.op("Add", as_float(w, pixels), w.constant(0.5)), scale)
    offset = w.op("Sub", middle, w.op("Unsqueeze", centres, w.ints(3)))
    return Cells(index, shares(w, offset, radius))


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
