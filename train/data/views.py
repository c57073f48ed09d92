"""Training views: what each stage sees of an image, by the same geometry as the exported graph.

All stages draw their images alike: two views in three are of an image that holds a foreground
class drawn at random, so rare classes and small targets are seen as often as common ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.runtime.geometry import crop
from foveate.runtime.io.images import Pixels
from foveate.runtime.spec import GREY, INPUT_TYPES, RGB, CascadeSpec, Normalisation, Size
from foveate.train.data.augment import Augmentation, augment_below
from foveate.train.data.full_images import FullImages
from foveate.train.data.masks import Mask
from foveate.train.reference.cascade import STD_FLOOR

FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

FOREGROUND_SHARE = 2 / 3
PREDICTED_BOX_SHARE = 0.5
TOP_PERCENT, TOP_LEAST = 99.5, 2.0**-12
HINT_BENDS = (0.5, 2.0)
"""Stage 1 is surer of its training images than of any other: the hint is raised to such a power.

Blanking it instead teaches stage 2 to segment look-alikes where stage 1 rightly found nothing.
"""


@dataclass(frozen=True)
class WholeView:
    """An image as stage 1 sees it: (C, h1, w1) in [0, 1], class shares (K, h1, w1) uint8.

    float16 of 8-bit images, float32 of 16-bit ones, whose values may differ by less than float16
    tells apart. Nearly all values are below ``top``, as of ``top_of``. ``ignored`` is the share of
    each cell that is not labelled, (1, h1, w1) uint8, where the settings have an ``ignore_value``.
    """

    image: npt.NDArray[np.float16] | FloatArray
    shares: npt.NDArray[np.uint8]
    height: int
    width: int
    top: FloatArray | float = 1.0
    ignored: npt.NDArray[np.uint8] | None = None

    def target(self) -> FloatArray:
        """Return the share of each cell that each class covers, (K, h1, w1) float32 in [0, 1]."""
        return self.shares.astype(np.float32) / np.float32(255)

    def with_ignored(self, target: FloatArray) -> FloatArray:
        """Return a target as the losses take it: with the ignored share as a last layer, if any."""
        if self.ignored is None:
            return target
        return np.concatenate([target, self.ignored.astype(np.float32) / np.float32(255)])


def area_shares(mask: Mask, labels: Sequence[int], box: Box, size: Size) -> FloatArray:
    """Return (L, h, w) float32 shares of each view pixel that each label covers."""
    return np.stack([crop(mask, box, size.height, size.width, label) for label in labels])


def whole_views(
    full: FullImages, stems: Sequence[str], size: Size, progress: Callable[[int, int], None]
) -> dict[str, WholeView]:
    """Return the whole-image view of every stem, computed once and kept in memory."""
    views = {}
    for number, stem in enumerate(stems):
        image, mask = full.get(stem)
        height, width = image.shape[:2]
        box = (0.0, 0.0, float(width), float(height))
        small = crop(planes(image), box, size.height, size.width) / full_scale(image)
        shares = area_shares(mask, full.dataset.layers, box, size)
        kept = small.astype(np.float16) if image.dtype == np.uint8 else small
        bytes_ = np.rint(shares * 255).astype(np.uint8)
        classes, top = full.dataset.classes, top_of(small, full.dataset.channels)
        ignored = bytes_[classes:] if len(bytes_) > classes else None
        views[stem] = WholeView(kept, bytes_[:classes], height, width, top, ignored)
        progress(number + 1, len(stems))
    return views


def planes(image: Pixels) -> Pixels:
    """Return an image, (H, W) or (H, W, C), as (C, H, W) without copying it."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def full_scale(image: npt.NDArray[np.generic]) -> np.float32:
    """Return the value of an image's type that counts as 1."""
    return np.float32(INPUT_TYPES[str(image.dtype)])


def top_of(values: FloatArray, channels: str) -> FloatArray:
    """Return the power of two that nearly all of (C, h, w) values in [0, 1] are below, (1, 1, 1).

    16-bit files may hold 12 bits, whose values end at a sixteenth; so may dark images of 8 bits.
    Channels that are no colours may differ in brightness, and have one each, (C, 1, 1).
    """
    over = None if channels in (GREY, RGB) else (1, 2)
    high = np.percentile(values, TOP_PERCENT, axis=over, keepdims=True)
    return np.exp2(np.ceil(np.log2(np.maximum(high, TOP_LEAST)))).astype(np.float32)


def statistics(view: WholeView, normalisation: Normalisation) -> tuple[FloatArray, FloatArray]:
    """Return what an image is normalised by in units of the full scale, (C, 1, 1) float32 each.

    Mean and deviation.
    """
    if known := normalisation.constants(len(view.image)):
        return fixed_statistics(known)
    small = view.image.astype(np.float32)
    mean = small.mean(axis=(1, 2), keepdims=True)
    return mean, np.maximum(small.std(axis=(1, 2), keepdims=True), np.float32(STD_FLOOR))


def fixed_statistics(
    known: tuple[Sequence[float], Sequence[float]],
) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation of each channel as (C, 1, 1) float32."""
    mean, deviation = np.array(known, np.float32)[:, :, None, None]
    return mean, deviation


def whole_item(view: WholeView, spec: CascadeSpec) -> tuple[Tensor, Tensor]:
    """Return what stage 1 sees of an image, (C, h1, w1) normalised, and the truth, (L, h1, w1).

    L layers: those of the data set, the foreground classes and perhaps what is ignored.
    """
    mean, std = statistics(view, spec.normalisation)
    image = torch.from_numpy((view.image.astype(np.float32) - mean) / std)
    return image, torch.from_numpy(view.with_ignored(view.target()))


@dataclass(frozen=True)
class ViewSource:
    """Images that training views are drawn from, at full size and as stage 1 sees them."""

    full: FullImages
    views: Mapping[str, WholeView]
    stems: Sequence[str]
    spec: CascadeSpec
    augment: Augmentation
    seed: int

    @cached_property
    def holders(self) -> list[list[str]]:
        """The stems that hold a foreground class, for each class that any holds."""
        dataset = self.full.dataset
        labels = range(1, dataset.classes + 1)
        holders = [
            [s for s in self.stems if label in dataset.contents[s].areas] for label in labels
        ]
        return [stems for stems in holders if stems]

    def draw(self, rng: np.random.Generator) -> str:
        """Return a stem: two in three are drawn from those of a foreground class."""
        pool = self.stems
        if self.holders and rng.random() < FOREGROUND_SHARE:
            pool = self.holders[int(rng.integers(len(self.holders)))]
        return pool[int(rng.integers(len(pool)))]


class WholeImages(Dataset[tuple[Tensor, Tensor]]):
    """Stage-1 training views. Item i is the same for the same seed: (C, h, w) and (L, h, w)."""

    def __init__(self, source: ViewSource) -> None:
        self.source = source

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        source, rng = self.source, np.random.default_rng([self.source.seed, 1, index])
        view = source.views[source.draw(rng)]
        mean, std = statistics(view, source.spec.normalisation)
        target = view.with_ignored(view.target())
        pixels = view.image.astype(np.float32)
        image, target = augment_below(view.top, source.augment, pixels, target, draw_seed(rng))
        return torch.from_numpy((image - mean) / std), torch.from_numpy(target)


class HintedViews(Dataset[tuple[Tensor, Tensor]], ABC):
    """Stage-2 training views: (C + 1, h2, w2) image and hint, (L, h2, w2) target."""

    def __init__(self, source: ViewSource) -> None:
        assert source.spec.stage2 is not None
        self.source, self.size = source, source.spec.stage2

    @abstractmethod
    def place(self, index: int) -> tuple[np.random.Generator, str, Any, Any]:
        """Return where a view is: the generator as it goes on, stem, region, and the answer."""

    @abstractmethod
    def region(
        self, stem: str, place: Any, answer: Any
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return image in [0, 1], hint and area shares of a region, float32.

        They are (C, h2, w2), (h2, w2) and (L, h2, w2).
        """

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng, stem, place, answer = self.place(index)
        image, hint, target = self.region(stem, place, answer)
        layers = np.concatenate([hint[None], target])
        top, augment = self.source.views[stem].top, self.source.augment
        image, layers = augment_below(top, augment, image, layers, draw_seed(rng))
        power = np.exp(rng.uniform(*np.log(HINT_BENDS)))
        hint = np.power(layers[0].clip(0, 1), np.float32(power))
        return self.tensors(stem, image, hint, layers[1:])

    def tensors(
        self, stem: str, image: FloatArray, hint: FloatArray, target: FloatArray
    ) -> tuple[Tensor, Tensor]:
        """Return the network's input and target of one region."""
        mean, std = statistics(self.source.views[stem], self.source.spec.normalisation)
        inputs = np.concatenate([(image - mean) / std, hint[None]]).astype(np.float32)
        return torch.from_numpy(inputs), torch.from_numpy(np.ascontiguousarray(target))


@dataclass(frozen=True)
class Regions:
    """What stage 2 is trained around, per stem.

    One or more answers of stage 1: its foreground (h1, w1) float16 and the box that gives; and
    the box a perfect stage 1 would give (none for an empty image).
    """

    foreground: dict[str, list[npt.NDArray[np.float16]]]
    predicted: dict[str, list[Box]]
    true: dict[str, Box]


class RegionCrops(HintedViews):
    """Views of boxes: half around the true box, half around the predicted one, with jitter."""

    def __init__(self, source: ViewSource, regions: Regions) -> None:
        super().__init__(source)
        self.regions = regions

    def place(self, index: int) -> tuple[np.random.Generator, str, Box, int]:
        """Return the generator as it goes on, the stem, the box, and which answer."""
        rng = np.random.default_rng([self.source.seed, 2, index])
        stem = self.source.draw(rng)
        view = self.source.views[stem]
        answer = int(rng.integers(len(self.regions.foreground[stem])))
        box = self.regions.predicted[stem][answer]
        if rng.random() >= PREDICTED_BOX_SHARE:
            box = self.regions.true.get(stem, box)
        return rng, stem, jitter_box(rng, box, view.height, view.width), answer

    def region(
        self, stem: str, place: Box, answer: int = 0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        image, mask = self.source.full.get(stem)
        height, width = self.size.height, self.size.width
        pixels = crop(planes(image), place, height, width) / full_scale(image)
        foreground = self.regions.foreground[stem][answer].astype(np.float32)
        sx = foreground.shape[1] / image.shape[1]
        sy = foreground.shape[0] / image.shape[0]
        coarse_box = (place[0] * sx, place[1] * sy, place[2] * sx, place[3] * sy)
        hint = crop(foreground, coarse_box, height, width)
        return pixels, hint, area_shares(mask, self.source.full.dataset.layers, place, self.size)


def jitter_box(rng: np.random.Generator, box: Box, height: int, width: int) -> Box:
    """Return the box scaled by 0.8 to 1.5 and shifted by up to a tenth, in whole pixels, inside."""
    zoom = float(np.exp(rng.uniform(np.log(0.8), np.log(1.5))))
    x0, x1 = _jitter_axis(rng, box[0], box[2], zoom, width)
    y0, y1 = _jitter_axis(rng, box[1], box[3], zoom, height)
    return x0, y0, x1, y1


def _jitter_axis(
    rng: np.random.Generator, start: float, stop: float, zoom: float, size: int
) -> tuple[float, float]:
    side = min(float(size), float(np.ceil((stop - start) * zoom)))
    centre = (start + stop) / 2 + (stop - start) * rng.uniform(-0.1, 0.1)
    start = min(max(0.0, float(np.floor(centre - side / 2 + 0.5))), size - side)
    return start, start + side


def draw_seed(rng: np.random.Generator) -> int:
    """Return a seed for one augmentation."""
    return int(rng.integers(2**31))
