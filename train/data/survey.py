"""Measure a data set before training: image sizes, and where and how large its targets are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.io.channels import grey_of
from foveate.runtime.spec import GREY, RGB
from foveate.train.data.dataset import DataSet
from foveate.train.data.masks import foreground

MOST = 200
"""Images that are measured, evenly spread over the data set."""
THUMBNAIL = 32
UPRIGHT = 0.2
"""Least standard deviation of what turning upside down changes in the mean thumbnail."""
SMALL, LARGE = 25, 90
"""Percentiles: a small target's side, and those of a large one and of a large box around all."""
CHECKED = 40
"""About so many of them are looked at for colours."""
TINT, TINTED = 1 / 16, 1e-3
"""A pixel has a colour from this difference of its channels on; an image, from this share of it."""
PARTS = 8
"""An image is divided into so many parts a side, to see how many of them hold targets."""


@dataclass(frozen=True)
class Survey:
    """What a data set is like; lengths are in pixels of the images.

    An image without a group is a group of its own. ``height`` and ``width`` are medians.
    ``box_share`` is the median share of an image that the box around all its targets has, ``box`` a
    large one's height and width, ``parts`` the median share of its parts that hold any; ``sides``
    the square root of a small, the median and a large target's area, ``counts`` the fewest, the
    median and the most targets of an image; all over images with a target. ``is_upright`` says
    whether images differ from their upside-down selves. ``coloured`` of ``checked`` images have
    colours that are read as grey.
    """

    images: int
    groups: int
    height: int
    width: int
    box_share: float
    box: tuple[int, int]
    parts: float
    sides: tuple[float, float, float]
    counts: tuple[int, int, int]
    is_upright: bool
    coloured: int = 0
    checked: int = 0

    @property
    def side(self) -> float:
        """The square root of a small target's area."""
        return self.sides[0]


def survey(dataset: DataSet, progress: Callable[[int, int], None] = lambda a, b: None) -> Survey:
    """Return the measures of a data set that has some foreground."""
    holding = [stem for stem in dataset.stems if not dataset.contents[stem].empty]
    stems = holding[:: max(1, len(holding) // MOST)]
    targets: list[tuple[float, int, int, float, int]] = []
    sides: list[float] = []
    thumbnails: list[npt.NDArray[np.float32]] = []
    for number, stem in enumerate(stems, 1):
        thumbnails.append(_thumbnail(grey_of(dataset.image(stem), dataset.channels)))
        mask = foreground(dataset.mask(stem)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        left, top, right, bottom = _extent(stats[1:])
        height, width = bottom - top, right - left
        held = cv2.resize(mask.astype(np.float32), (PARTS, PARTS), interpolation=cv2.INTER_AREA)
        parts = float(np.mean(held > 0))
        targets.append((height * width / mask.size, height, width, parts, len(stats) - 1))
        sides += np.sqrt(stats[1:, cv2.CC_STAT_AREA]).tolist()
        progress(number, len(stems))
    shares, heights, widths, parts_held, counts = np.array(targets).T
    small, typical, large = np.percentile(sides, (SMALL, 50, LARGE))
    checked = stems[:: max(1, len(stems) // CHECKED)]
    return Survey(
        images=len(dataset.stems),
        groups=len({dataset.groups.get(stem, stem) for stem in dataset.stems}),
        height=_median([item.height for item in dataset.contents.values()]),
        width=_median([item.width for item in dataset.contents.values()]),
        box_share=float(np.median(shares)),
        box=(int(np.percentile(heights, LARGE)), int(np.percentile(widths, LARGE))),
        parts=float(np.median(parts_held)),
        sides=(float(small), float(typical), float(large)),
        counts=(int(counts.min()), int(np.median(counts)), int(counts.max())),
        is_upright=_is_upright(thumbnails),
        coloured=sum(_loses_colour(dataset, stem) for stem in checked),
        checked=len(checked),
    )


def _median(values: Sequence[int]) -> int:
    return int(np.median(values))


def _extent(stats: npt.NDArray[Any]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the box around all components."""
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right = left + stats[:, cv2.CC_STAT_WIDTH]
    bottom = top + stats[:, cv2.CC_STAT_HEIGHT]
    return int(left.min()), int(top.min()), int(right.max()), int(bottom.max())


def _thumbnail(image: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.float32]:
    small = cv2.resize(
        image.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    found: npt.NDArray[np.float32] = (small - small.mean()) / (small.std() + 1e-6)
    return found


def _loses_colour(dataset: DataSet, stem: str) -> bool:
    """Say whether an image has colours, more than a trace, and is read as grey."""
    if dataset.channels != GREY or not dataset.contents[stem].colour:
        return False
    pixels = replace(dataset, channels=RGB).image(stem)[::4, ::4]
    tint = np.iinfo(pixels.dtype).max * TINT
    return bool(np.mean(pixels.max(axis=2) - pixels.min(axis=2) > tint) > TINTED)


def _is_upright(thumbnails: Sequence[npt.NDArray[np.float32]]) -> bool:
    """Say whether the images have a top and a bottom in common.

    The part of the mean image that changes sign when it is turned upside down, against chance:
    images without any common orientation leave ``1 / sqrt(images)`` of it.
    """
    mean = np.mean(thumbnails, axis=0)
    odd = (mean - mean[::-1]) / 2
    return bool(odd.std() > max(UPRIGHT, 2 / np.sqrt(len(thumbnails))))
