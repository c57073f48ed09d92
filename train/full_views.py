"""Training views of the one-stage network that sees every image at its own size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.runtime.image_files import Pixels
from foveate.runtime.spec import CascadeSpec, Normalisation
from foveate.train.augment import Augmentation
from foveate.train.cascade import STD_FLOOR
from foveate.train.dataset import Mask
from foveate.train.geometry import pad_to_multiple
from foveate.train.views import FOREGROUND_SHARE, FullImages, StemSampler, draw_seed, full_scale


class FullCrops(Dataset[tuple[Tensor, Tensor]]):
    """Training views of a one-stage network that sees images at their own size: crops of them.

    Two crops in three hold a pixel of a class drawn at random. Images smaller than the crop are
    padded below and at the right, as the graph pads: with the mean, which normalises to zero.
    """

    def __init__(
        self,
        full: FullImages,
        sampler: StemSampler,
        spec: CascadeSpec,
        augment: Augmentation,
        seed: int,
    ) -> None:
        self.full, self.sampler, self.spec = full, sampler, spec
        self.augment, self.seed = augment, seed
        self.statistics = {
            stem: full_statistics(full.get(stem)[0], spec.normalisation) for stem in sampler.stems
        }

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, 5, index])
        stem = self.sampler.draw(rng)
        image, mask = self.full.get(stem)
        mean, std = self.statistics[stem]
        rows, columns = self._place(rng, mask, self.full.dataset.present[stem])
        pixels = np.asarray(image[rows, columns] / full_scale(image), np.float32)
        classes = range(1, len(self.spec.classes))
        present = np.stack([mask[rows, columns] == label for label in classes], axis=2)
        pixels, layers = self.augment(pixels, present.astype(np.float32), draw_seed(rng))
        size = self.spec.stage1
        view = np.zeros((1, size.height, size.width), np.float32)
        target = np.zeros((layers.shape[2], size.height, size.width), np.float32)
        view[0, : pixels.shape[0], : pixels.shape[1]] = (pixels - mean) / std
        target[:, : pixels.shape[0], : pixels.shape[1]] = layers.transpose(2, 0, 1)
        return torch.from_numpy(view), torch.from_numpy(target)

    def _place(
        self, rng: np.random.Generator, mask: Mask, present: Sequence[int]
    ) -> tuple[slice, slice]:
        """Return rows and columns of a crop, around a foreground pixel or anywhere."""
        size = self.spec.stage1
        centre = rng.uniform(0, mask.shape[0]), rng.uniform(0, mask.shape[1])
        labels = [label for label in present if label]
        if labels and rng.random() < FOREGROUND_SHARE:
            found = np.flatnonzero(mask == labels[int(rng.integers(len(labels)))])
            row, column = divmod(int(found[int(rng.integers(len(found)))]), mask.shape[1])
            centre = (
                row + rng.uniform(-0.4, 0.4) * size.height,
                column + rng.uniform(-0.4, 0.4) * size.width,
            )
        return (
            _span(centre[0], size.height, mask.shape[0]),
            _span(centre[1], size.width, mask.shape[1]),
        )


class WholeAtOwnSize(Dataset[tuple[Tensor, Tensor]]):
    """Whole images at their own size, padded as in the graph: (1, H, W) and (K, H, W)."""

    def __init__(self, full: FullImages, stems: Sequence[str], spec: CascadeSpec) -> None:
        self.full, self.stems, self.spec = full, stems, spec

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.full.get(self.stems[index])
        mean, std = full_statistics(image, self.spec.normalisation)
        view = torch.from_numpy((image / full_scale(image) - mean) / std)[None]
        layers = [mask == label for label in range(1, len(self.spec.classes))]
        target = torch.from_numpy(np.stack(layers).astype(np.float32))
        multiple = self.spec.pad_multiple
        return pad_to_multiple(view, multiple), pad_to_multiple(target, multiple)


def full_statistics(image: Pixels, normalisation: Normalisation) -> tuple[np.float32, np.float32]:
    """Return mean and deviation of an image at its own size, in units of the full scale."""
    if normalisation.mode == "constants":
        return np.float32(normalisation.mean), np.float32(normalisation.std)
    scale = full_scale(image)
    deviation = np.float32(image.std(dtype=np.float64)) / scale
    mean = np.float32(image.mean(dtype=np.float64)) / scale
    return mean, np.maximum(deviation, np.float32(STD_FLOOR))


def _span(centre: float, length: int, size: int) -> slice:
    """Return ``length`` pixels around a centre inside [0, size), or all where there are fewer."""
    length = min(length, size)
    start = int(np.clip(round(centre - length / 2), 0, size - length))
    return slice(start, start + length)
