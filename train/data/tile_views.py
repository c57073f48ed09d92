"""Training views of a stage 2 that looks at tiles: the image's own pixels, and stage 1's hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.runtime.spec import OVERLAPS, CascadeSpec
from foveate.runtime.tiles import TileGrid, tile_grid
from foveate.train.data.augment import Augmentation, augment_below
from foveate.train.data.full_images import FullImages
from foveate.train.data.views import (
    HINT_BENDS,
    FloatArray,
    StemSampler,
    WholeView,
    draw_seed,
    full_scale,
    statistics,
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


class TileCrops(Dataset[tuple[Tensor, Tensor]]):
    """Stage-2 training views of tiles: (2, h2, w2) image and hint, (K, h2, w2) target."""

    def __init__(
        self,
        full: FullImages,
        views: dict[str, WholeView],
        answers: Answers,
        sampler: StemSampler,
        spec: CascadeSpec,
        augment: Augmentation,
        seed: int,
    ) -> None:
        assert spec.stage2 is not None
        self.full, self.views = full, views
        self.answers = {stem: [one.half() for one in found] for stem, found in answers.items()}
        self.sampler, self.spec = sampler, spec
        self.augment, self.seed = augment, seed
        regions = [replace(spec.region, overlap=overlap) for overlap in OVERLAPS]
        self.grids = [tile_grid(region, spec.stage2) for region in regions]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng, stem, tiles, answer = self.place(index)
        image, hint, target = tile_view(self.full, stem, answer, tiles)
        layers = np.concatenate([hint[None], target]).transpose(1, 2, 0)
        layers, top = np.ascontiguousarray(layers), self.views[stem].top
        image, layers = augment_below(top, self.augment, image, layers, draw_seed(rng))
        power = np.exp(rng.uniform(*np.log(HINT_BENDS)))
        hint = np.power(layers[:, :, 0].clip(0, 1), np.float32(power))
        return self._tensors(stem, image, hint, layers[:, :, 1:].transpose(2, 0, 1))

    def place(self, index: int) -> tuple[np.random.Generator, str, Tiles, Tensor]:
        """Return where a view is: the generator as it goes on, stem, tile, and the answer."""
        rng = np.random.default_rng([self.seed, 7, index])
        stem = self.sampler.draw(rng)
        answer = self.answers[stem][int(rng.integers(len(self.answers[stem])))].float()
        return rng, stem, self._place(rng, stem, answer), answer

    def validation(self, stems: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Return the best tiles of each stem, as stage 1 has them, as items to validate on."""
        grid, items = self.grids[OVERLAPS.index(0.25)], []
        for stem in stems:
            view, answer = self.views[stem], self.answers[stem][0].float()
            count = min(VALIDATED, grid.count(view.height, view.width))
            tiles = choose_tiles(answer[None], grid, view.height, view.width, count)
            items += [
                self._tensors(stem, *tile_view(self.full, stem, answer, tiles.part(k, k + 1)))
                for k in range(count)
            ]
        return items

    def _place(self, rng: np.random.Generator, stem: str, answer: Tensor) -> Tiles:
        """Return one tile: around a pixel of the truth or of the answer, or one of a grid."""
        view = self.views[stem]
        grid = self.grids[int(rng.integers(len(self.grids)))]
        share, height, width = rng.random(), view.height, view.width
        if share < AROUND_TRUTH and view.shares.any():
            return _around(rng, grid, view, view.shares.sum(axis=0, dtype=np.float64))
        if share < AROUND_TRUTH + AROUND_ANSWER:
            return _around(rng, grid, view, np.square(answer.numpy(), dtype=np.float64))
        top = int(rng.integers(grid.rows.count(height))) * grid.rows.stride
        left = int(rng.integers(grid.columns.count(width))) * grid.columns.stride
        return Tiles.single(grid, (height, width), top, left)

    def _tensors(
        self, stem: str, image: FloatArray, hint: FloatArray, target: FloatArray
    ) -> tuple[Tensor, Tensor]:
        mean, std = statistics(self.views[stem], self.spec.normalisation)
        inputs = np.stack([(image - mean) / std, hint]).astype(np.float32)
        return torch.from_numpy(inputs), torch.from_numpy(np.ascontiguousarray(target))


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


def tile_view(
    full: FullImages, stem: str, answer: Tensor, tiles: Tiles
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return image in [0, 1], hint and class shares of one tile, each (..., h2, w2) float32."""
    image, mask = full.get(stem)
    rows, columns = (pixels[0, 0].numpy() for pixels in tile_pixels(tiles))
    seen = np.ix_(rows, columns)
    pixels = np.asarray(image[seen] / full_scale(image), np.float32)
    hint = crop_hints(answer[None], tiles)[0, 0].numpy()
    labels = np.arange(1, full.dataset.classes + 1)[:, None, None]
    return pixels, hint, np.asarray(mask[seen] == labels, np.float32)
