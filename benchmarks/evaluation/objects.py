"""Which objects of the truth were found, and how many were found that are not there.

An object is an 8-connected component of one class. Recall is told by size, because a mean over
pixels hides the small objects behind the large ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Binary = npt.NDArray[np.bool_]
FOUND_SHARE = 0.5
"""An object is found when at least this share of its pixels is predicted as its class."""
BINS = 4


@dataclass(frozen=True)
class TruthObject:
    """One object of the truth and how much of it a method found.

    ``number`` counts from 1 within image and class, ``area`` is in pixels, ``box_xyxy`` in pixels
    of the image, end exclusive, ``covered`` is the share of the object predicted as its class.
    """

    stem: str
    label: int
    method: str
    number: int
    area: int
    box_xyxy: tuple[int, int, int, int]
    covered: float

    @property
    def found(self) -> bool:
        return self.covered >= FOUND_SHARE


@dataclass(frozen=True)
class Components:
    """The objects of one class in one truth: (H, W) numbers, 0 is none, and each one's extent."""

    numbers: npt.NDArray[np.int32]
    areas: tuple[int, ...]
    boxes_xyxy: tuple[tuple[int, int, int, int], ...]


def components(truth: Binary) -> Components:
    """Return the 8-connected components of a (H, W) truth, numbered from 1."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    extents = [tuple(int(value) for value in row) for row in stats[1:]]
    return Components(
        numbers=np.asarray(numbers, np.int32),
        areas=tuple(area for *_, area in extents),
        boxes_xyxy=tuple((x, y, x + width, y + height) for x, y, width, height, _ in extents),
    )


def covered_shares(objects: Components, mask: Binary) -> list[float]:
    """Return the share of each object that a (H, W) mask of the same class covers."""
    hits = np.bincount(objects.numbers[mask], minlength=len(objects.areas) + 1)[1:]
    return [int(hit) / area for hit, area in zip(hits, objects.areas, strict=True)]


def false_objects(mask: Binary, truth: Binary) -> int:
    """Return how many 8-connected components of a (H, W) mask touch no truth of their class."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return int(count - 1 - len(np.unique(np.asarray(numbers)[mask & truth])))


@dataclass(frozen=True)
class SizeBin:
    """Recall of a method over the objects with ``smallest`` <= area <= ``largest``, in pixels."""

    method: str
    smallest: int
    largest: int
    objects: int
    found: int

    @property
    def recall(self) -> float:
        return self.found / self.objects if self.objects else float("nan")


def recall_by_size(objects: Sequence[TruthObject], methods: Sequence[str]) -> list[SizeBin]:
    """Return the recall of each method in four bins of size, smallest first.

    The bins are cut at the quartiles of the areas of all objects of this data set, all classes
    together; an area equal to a quartile belongs below it, so ties can leave a bin empty, and an
    empty bin is left out.
    """
    areas = np.array([item.area for item in objects if item.method == methods[0]])
    if not len(areas):
        return []
    cuts = np.quantile(areas, np.arange(1, BINS) / BINS)
    bins = []
    for method in methods:
        ours = [item for item in objects if item.method == method]
        places = np.searchsorted(cuts, [item.area for item in ours], side="left")
        for index in range(BINS):
            inside = [item for item, place in zip(ours, places, strict=True) if place == index]
            if inside:
                sizes = [item.area for item in inside]
                found = sum(item.found for item in inside)
                bins.append(SizeBin(method, min(sizes), max(sizes), len(inside), found))
    return bins
