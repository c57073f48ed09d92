"""The grid of tiles that stage 2 may look at: where they lie, and how neighbours are blended.

Tiles have the size of stage 2's input and the image's own resolution. They begin at multiples of
the stride; the last ones may reach beyond the image, below and at the right. Coordinates are
pixels of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.runtime.spec import Region, Size

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TileAxis:
    """One axis: tiles of ``side`` pixels that share ``shared`` pixels with the next one."""

    side: int
    shared: int

    @property
    def stride(self) -> int:
        return self.side - self.shared

    @property
    def segment(self) -> int:
        """The longest run of pixels that no tile's edge cuts, wherever tiles lie."""
        return math.gcd(self.side, self.stride)

    def count(self, size: int) -> int:
        """Return how many tiles cover an axis of ``size`` pixels, at least 1."""
        return max(1, -(-(size - self.shared) // self.stride))

    def window(self) -> FloatArray:
        """Return (side,) float32 weights in (0, 1]: ramps where tiles overlap, 1 between.

        Where two neighbours overlap their weights add up to 1.
        """
        if not self.shared:
            return np.ones(self.side, np.float32)
        centres = np.arange(self.side, dtype=np.float32) + np.float32(0.5)
        inside = np.minimum(centres, np.float32(self.side) - centres)
        return np.asarray(np.minimum(inside / np.float32(self.shared), 1), np.float32)


@dataclass(frozen=True)
class TileGrid:
    """Both axes of the tiles of a cascade."""

    rows: TileAxis
    columns: TileAxis

    def count(self, height: int, width: int) -> int:
        """Return how many tiles cover an image."""
        return self.rows.count(height) * self.columns.count(width)

    def window(self) -> FloatArray:
        """Return (h2, w2) float32, the weight of a tile's pixels where it meets others."""
        return np.asarray(np.outer(self.rows.window(), self.columns.window()), np.float32)


def tile_grid(region: Region, size: Size) -> TileGrid:
    """Return the grid of a region of mode ``tiles`` whose stage 2 sees ``size``."""
    axes = [TileAxis(side, round(side * region.overlap)) for side in (size.height, size.width)]
    return TileGrid(*axes)


def blend_tiles(
    probability: FloatArray, boxes_xyxy: FloatArray, grid: TileGrid, rows: range, width: int
) -> FloatArray:
    """Return (C, len(rows), width) float32: rows of an image, its tiles blended as in the graph.

    ``probability`` is (R, C, h2, w2), ``boxes_xyxy`` (R, 4) the tiles' parts inside the image. All
    is 0 where no tile is.
    """
    total = np.zeros((probability.shape[1], len(rows), width), np.float32)
    weights = np.zeros((len(rows), width), np.float32)
    window = grid.window()
    for index, box in enumerate(boxes_xyxy):
        x0, y0, x1, y1 = (int(side) for side in box)
        top, bottom = max(y0, rows.start), min(y1, rows.stop)
        if top >= bottom:
            continue
        inside = slice(top - y0, bottom - y0), slice(0, x1 - x0)
        place = slice(top - rows.start, bottom - rows.start), slice(x0, x1)
        total[(slice(None), *place)] += window[inside] * probability[(index, slice(None), *inside)]
        weights[place] += window[inside]
    return np.asarray(total / np.where(weights > 0, weights, 1), np.float32)
