"""Training views of a stage 2 that looks at tiles: the image's own pixels, and stage 1's hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from foveate.runtime.spec import OVERLAPS
from foveate.runtime.tiles import TileGrid, tile_grid
from foveate.train.data.views import (
    FloatArray,
    HintedViews,
    ViewSource,
    WholeView,
    full_scale,
    planes,
)
from foveate.train.reference.tiles import Tiles, choose_tiles, crop_hints, tile_pixels

VALIDATED = 4
"""The best tiles of each validation image are what the Dice of an epoch is measured on."""
AROUND_TRUTH, AROUND_ANSWER = 0.4, 0.3
"""Shares of the views that hold a pixel of the truth, or one that stage 1 takes for foreground.

The others are tiles of the grid drawn alike: most of what a sliding window sees is background.
"""
Answers = Mapping[str, Sequence[Tensor]]
"""Stage 1's foreground probability of every stem, (h1, w1) float32, one or more answers."""


class TileCrops(HintedViews):
    """Views of tiles at the image's own resolution."""

    def __init__(self, source: ViewSource, answers: Answers) -> None:
        super().__init__(source)
        self.answers = {stem: [one.half() for one in found] for stem, found in answers.items()}
        regions = [replace(source.spec.region, overlap=overlap) for overlap in OVERLAPS]
        self.grids = [tile_grid(region, self.size) for region in regions]

    def place(self, index: int) -> tuple[np.random.Generator, str, Tiles, Tensor]:
        """Return the generator as it goes on, the stem, the tile, and the answer."""
        rng = np.random.default_rng([self.source.seed, 7, index])
        stem = self.source.draw(rng)
        answer = self.answers[stem][int(rng.integers(len(self.answers[stem])))].float()
        return rng, stem, self._tile(rng, stem, answer), answer

    def region(
        self, stem: str, place: Tiles, answer: Tensor
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        image, mask = self.source.full.get(stem)
        rows, columns = (pixels[0, 0].numpy() for pixels in tile_pixels(place))
        seen = np.ix_(rows, columns)
        pixels = np.asarray(planes(image[seen]) / full_scale(image), np.float32)
        hint = crop_hints(answer[None], place)[0, 0].numpy()
        labels = np.array(self.source.full.dataset.layers)[:, None, None]
        return pixels, hint, np.asarray(mask[seen] == labels, np.float32)

    def validation(self, stems: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Return the best tiles of each stem, as stage 1 has them, as items to validate on."""
        grid, items = self.grids[OVERLAPS.index(0.25)], []
        for stem in stems:
            view, answer = self.source.views[stem], self.answers[stem][0].float()
            count = min(VALIDATED, grid.count(view.height, view.width))
            tiles = choose_tiles(answer[None], grid, view.height, view.width, count)
            for k in range(count):
                items.append(self.tensors(stem, *self.region(stem, tiles.part(k, k + 1), answer)))
        return items

    def _tile(self, rng: np.random.Generator, stem: str, answer: Tensor) -> Tiles:
        """Return one tile: around a pixel of the truth or of the answer, or one of a grid."""
        view = self.source.views[stem]
        grid = self.grids[int(rng.integers(len(self.grids)))]
        share, height, width = rng.random(), view.height, view.width
        if share < AROUND_TRUTH and view.shares.any():
            return _around(rng, grid, view, view.shares.sum(axis=0, dtype=np.float64))
        if share < AROUND_TRUTH + AROUND_ANSWER:
            return _around(rng, grid, view, np.square(answer.numpy(), dtype=np.float64))
        top = int(rng.integers(grid.rows.count(height))) * grid.rows.stride
        left = int(rng.integers(grid.columns.count(width))) * grid.columns.stride
        return Tiles.single(grid, (height, width), top, left)


def _around(
    rng: np.random.Generator, grid: TileGrid, view: WholeView, weights: npt.NDArray[np.float64]
) -> Tiles:
    """Return a tile that holds a point drawn by the weights of coarse cells (h1, w1)."""
    total = np.cumsum(weights)
    cell = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    row, column = divmod(min(cell, weights.size - 1), weights.shape[1])
    starts = []
    for axis, place, size, cells in (
        (grid.rows, row, view.height, weights.shape[0]),
        (grid.columns, column, view.width, weights.shape[1]),
    ):
        point = (place + rng.random()) * size / cells
        last = (axis.count(size) - 1) * axis.stride
        starts.append(int(np.clip(point - rng.random() * axis.side, 0, last)))
    return Tiles.single(grid, (view.height, view.width), *starts)
