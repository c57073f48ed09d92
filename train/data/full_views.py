"""Training views of the one-stage network that sees every image at its own size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.runtime.io.images import Pixels
from foveate.runtime.spec import CascadeSpec, Normalisation
from foveate.train.data.augment import augment_below
from foveate.train.data.full_images import FullImages
from foveate.train.data.masks import Mask
from foveate.train.data.views import (
    FOREGROUND_SHARE,
    FloatArray,
    ViewSource,
    draw_seed,
    fixed_statistics,
    full_scale,
    planes,
    top_of,
)
from foveate.train.reference.cascade import STD_FLOOR
from foveate.train.reference.geometry import pad_to_multiple

RowEnds = npt.NDArray[np.int64]
BAND_PIXELS = 1 << 24


class FullCrops(Dataset[tuple[Tensor, Tensor]]):
    """Training views of a one-stage network that sees images at their own size: crops of them.

    Two crops in three hold a pixel of a class drawn at random. Images smaller than the crop are
    padded below and at the right, as the graph pads: with the mean, which normalises to zero.
    """

    def __init__(self, source: ViewSource) -> None:
        self.source, full = source, source.full
        self.statistics, self.tops, self.places = {}, {}, {}
        for stem in source.stems:
            image, mask = full.get(stem)
            self.statistics[stem] = full_statistics(image, source.spec.normalisation)
            thinned = image[:: image.shape[0] // 512 + 1, :: image.shape[1] // 512 + 1]
            seen = np.asarray(planes(thinned) / full_scale(image), np.float32)
            self.tops[stem] = top_of(seen, full.dataset.channels)
            labels = [label for label in full.dataset.contents[stem].areas if label]
            self.places[stem] = {label: _ends(mask, label) for label in labels}

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        source, rng = self.source, np.random.default_rng([self.source.seed, 5, index])
        stem = source.draw(rng)
        image, mask = source.full.get(stem)
        mean, std = self.statistics[stem]
        rows, columns = self._place(rng, mask, self.places[stem])
        pixels = np.asarray(planes(image[rows, columns]) / full_scale(image), np.float32)
        labels = source.full.dataset.layers
        present = np.stack([mask[rows, columns] == label for label in labels])
        pixels, layers = augment_below(
            self.tops[stem], source.augment, pixels, present.astype(np.float32), draw_seed(rng)
        )
        size = source.spec.stage1
        view = np.zeros((len(pixels), size.height, size.width), np.float32)
        target = np.zeros((len(layers), size.height, size.width), np.float32)
        view[:, : pixels.shape[1], : pixels.shape[2]] = (pixels - mean) / std
        target[:, : pixels.shape[1], : pixels.shape[2]] = layers
        return torch.from_numpy(view), torch.from_numpy(target)

    def _place(
        self, rng: np.random.Generator, mask: Mask, places: Mapping[int, RowEnds]
    ) -> tuple[slice, slice]:
        """Return rows and columns of a crop, around a foreground pixel or anywhere."""
        size, labels = self.source.spec.stage1, list(places)
        centre = rng.uniform(0, mask.shape[0]), rng.uniform(0, mask.shape[1])
        if labels and rng.random() < FOREGROUND_SHARE:
            label = labels[int(rng.integers(len(labels)))]
            ends = places[label]
            number = int(rng.integers(ends[-1]))
            row = int(np.searchsorted(ends, number, side="right"))
            before = int(ends[row - 1]) if row else 0
            column = int(np.flatnonzero(mask[row] == label)[number - before])
            centre = (
                row + rng.uniform(-0.4, 0.4) * size.height,
                column + rng.uniform(-0.4, 0.4) * size.width,
            )
        return (
            _span(centre[0], size.height, mask.shape[0]),
            _span(centre[1], size.width, mask.shape[1]),
        )


class WholeAtOwnSize(Dataset[tuple[Tensor, Tensor]]):
    """Whole images at their own size, padded as in the graph: (C, H, W) and (L, H, W)."""

    def __init__(self, full: FullImages, stems: Sequence[str], spec: CascadeSpec) -> None:
        self.full, self.stems, self.spec = full, stems, spec

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.full.get(self.stems[index])
        mean, std = full_statistics(image, self.spec.normalisation)
        view = torch.from_numpy((planes(image) / full_scale(image) - mean) / std)
        layers = [mask == label for label in self.full.dataset.layers]
        target = torch.from_numpy(np.stack(layers).astype(np.float32))
        multiple = self.spec.pad_multiple
        return pad_to_multiple(view, multiple), pad_to_multiple(target, multiple)


def full_statistics(image: Pixels, normalisation: Normalisation) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation of an image at its own size, as ``statistics`` does of its view."""
    if known := normalisation.constants(len(planes(image))):
        return fixed_statistics(known)
    scale, mean = full_scale(image), image.mean(axis=(0, 1), dtype=np.float64)
    squares = sum(np.square(band - mean).sum(axis=(0, 1)) for band in _bands(image))
    pixels = image.shape[0] * image.shape[1]
    deviation = np.sqrt(squares / pixels).astype(np.float32) / scale
    pair = mean.astype(np.float32) / scale, np.maximum(deviation, np.float32(STD_FLOOR))
    return pair[0].reshape(-1, 1, 1), pair[1].reshape(-1, 1, 1)


def _bands(image: Pixels | Mask) -> Iterator[Pixels | Mask]:
    """Yield the rows of an image, so many at a time that they may be widened to eight bytes."""
    rows = max(1, BAND_PIXELS // image[0].size)
    for start in range(0, len(image), rows):
        yield image[start : start + rows]


def _ends(mask: Mask, label: int) -> RowEnds:
    """Return (H,): how many pixels of a class there are to the end of each row."""
    counts = [np.count_nonzero(band == label, axis=1) for band in _bands(mask)]
    return np.cumsum(np.concatenate(counts))


def _span(centre: float, length: int, size: int) -> slice:
    """Return ``length`` pixels around a centre inside [0, size), or all where there are fewer."""
    length = min(length, size)
    start = int(np.clip(round(centre - length / 2), 0, size - length))
    return slice(start, start + length)
