"""Tiles in PyTorch: which ones stage 2 looks at, what it sees there, and how they are blended.

Tiles are of the stage-2 input's size and at the image's own resolution, so nothing is resampled but
stage 1's answer. ``foveate.runtime.tiles`` says where they lie. Batched over images, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foveate.runtime.tiles import TileAxis, TileGrid

MASS_STEPS = 16.0
"""A tile's mass counts in sixteenths of a pixel; of equal ones the first in the grid wins."""
ROUND_MASS = 0.4
"""Added before the floor: whole numbers of pixels are common and stay off the edge."""


@dataclass(frozen=True)
class Tiles:
    """Tiles chosen from a grid, best first; ``top`` and ``left`` (N, R) are their first pixels."""

    grid: TileGrid
    height: int
    width: int
    top: Tensor
    left: Tensor

    def part(self, start: int, stop: int) -> Tiles:
        """Return some of the tiles, in the same order."""
        kept = self.top[:, start:stop], self.left[:, start:stop]
        return Tiles(self.grid, self.height, self.width, *kept)

    @classmethod
    def single(cls, grid: TileGrid, shape: tuple[int, int], top: int, left: int) -> Tiles:
        """Return one tile of one image of ``shape``, wherever it lies."""
        return cls(grid, *shape, torch.tensor([[top]]), torch.tensor([[left]]))


def tile_masses(foreground: Tensor, grid: TileGrid, height: int, width: int) -> Tensor:
    """Return (N, T), the squared probability in each tile's core, in pixels, row by row of tiles.

    ``foreground`` is (N, h1, w1), stage 1's probability of any foreground. Squared, so that
    many cells with a trace of it do not outweigh a few that are sure. Cores end in the middle of
    the overlaps, so every pixel of the image counts in one tile.
    """
    rows = _core_weights(grid.rows, height, foreground.shape[1])
    columns = _core_weights(grid.columns, width, foreground.shape[2])
    return (rows @ foreground.square() @ columns.T).flatten(1)


def _core_weights(axis: TileAxis, size: int, cells: int) -> Tensor:
    """Return (T, cells), how many pixels of each coarse cell lie in the core of each tile."""
    count = axis.count(size)
    cuts = torch.arange(1, count) * float(axis.stride) + axis.shared / 2
    zero, end = torch.zeros(1), torch.full((1,), float(size))
    start, stop = torch.cat([zero, cuts])[:, None], torch.cat([cuts, end])[:, None]
    edges = torch.arange(cells + 1) * float(size) / cells
    return (torch.minimum(stop, edges[1:]) - torch.maximum(start, edges[:-1])).clamp(min=0)


def choose_tiles(foreground: Tensor, grid: TileGrid, height: int, width: int, count: int) -> Tiles:
    """Return the ``count`` tiles with the most of stage 1's foreground, best first; 0: all of them.

    All of them too where there are no more than ``count``.

    Where stage 1 finds nothing these are still the tiles where it was least sure of that.
    """
    across = grid.columns.count(width)
    total = grid.rows.count(height) * across
    if count:
        masses = tile_masses(foreground, grid, height, width)
        steps = torch.floor(masses * MASS_STEPS + ROUND_MASS)
        keys = steps - torch.arange(total) / float(total)
        order = torch.sort(keys, dim=1, descending=True, stable=True).indices[:, :count]
    else:
        order = torch.arange(total).repeat(len(foreground), 1)
    top, left = order // across * grid.rows.stride, order % across * grid.columns.stride
    return Tiles(grid, height, width, top, left)


def tile_boxes(tiles: Tiles) -> Tensor:
    """Return (N, R, 4) xyxy float32, the parts of the tiles inside the image, in its pixels."""
    bottom = (tiles.top + tiles.grid.rows.side).clamp(max=tiles.height)
    right = (tiles.left + tiles.grid.columns.side).clamp(max=tiles.width)
    return torch.stack([tiles.left, tiles.top, right, bottom], dim=2).float()


def crop_tiles(image: Tensor, tiles: Tiles) -> Tensor:
    """Return (N, R, C, h2, w2), pixels of (N, C, H, W); beyond the image its edge is repeated."""
    rows, columns = tile_pixels(tiles)
    batch = torch.arange(len(image))[:, None, None, None]
    seen = image[batch, :, rows[:, :, :, None], columns[:, :, None, :]]
    return seen.permute(0, 1, 4, 2, 3)


def crop_hints(foreground: Tensor, tiles: Tiles) -> Tensor:
    """Return (N, R, h2, w2), stage 1's foreground (N, h1, w1) resampled on the tiles."""
    rows, columns = tile_pixels(tiles)
    tall = _hint_weights(rows, tiles.height, foreground.shape[1])
    wide = _hint_weights(columns, tiles.width, foreground.shape[2])
    return tall @ foreground[:, None] @ wide.transpose(2, 3)


def _hint_weights(pixels: Tensor, size: int, cells: int) -> Tensor:
    """Return (N, R, side, cells) rows that resample coarse cells at pixels of an axis."""
    scale = torch.tensor(float(cells)) / size
    centres = (pixels + 0.5) * scale
    distance = (torch.arange(cells) + 0.5 - centres[..., None]).abs() / scale.clamp(min=1)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=3, keepdim=True)


def tile_pixels(tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Return the rows (N, R, h2) and columns (N, R, w2) that the tiles see, inside the image."""
    rows = tiles.top[:, :, None] + torch.arange(tiles.grid.rows.side)
    columns = tiles.left[:, :, None] + torch.arange(tiles.grid.columns.side)
    return rows.clamp(max=tiles.height - 1), columns.clamp(max=tiles.width - 1)


def tile_weights(tiles: Tiles) -> Tensor:
    """Return (N, R, h2, w2), the window of each tile: 0 beyond the image."""
    window = torch.from_numpy(tiles.grid.window())
    rows = tiles.top[:, :, None] + torch.arange(tiles.grid.rows.side) < tiles.height
    columns = tiles.left[:, :, None] + torch.arange(tiles.grid.columns.side) < tiles.width
    inside = rows[:, :, :, None] & columns[:, :, None, :]
    return window * inside


def blend_tiles(values: Tensor, tiles: Tiles) -> Tensor:
    """Return (N, C, H, W), the window times (N, R, C, h2, w2) values, summed; 0 where no tile is.

    Not divided by the sum of the windows: neither a sign nor the greatest of classes needs it.
    """
    weighted = values * tile_weights(tiles)[:, :, None]
    canvas = torch.zeros(len(values), values.shape[2], tiles.height, tiles.width)
    for n, row in enumerate(torch.stack([tiles.top, tiles.left], dim=2).tolist()):
        for k, (top, left) in enumerate(row):
            place = canvas[n, :, top : top + values.shape[3], left : left + values.shape[4]]
            place += weighted[n, k, :, : place.shape[1], : place.shape[2]]
    return canvas
