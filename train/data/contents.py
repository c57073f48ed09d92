"""What the images and masks of a data set hold, known before any image is decoded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foveate.runtime.io.formats.headers import Header

BAND_PIXELS = 1 << 20
"""Masks are counted so many pixels at a time: numpy counts in eight bytes a pixel."""


@dataclass(frozen=True)
class Contents:
    """Size in pixels and bits of an image (8 or 16), and pixels of each value in its mask."""

    height: int
    width: int
    bits: int
    areas: dict[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of image and mask, decoded."""
        return self.height * self.width * (self.bits // 8 + 1)

    @property
    def empty(self) -> bool:
        return set(self.areas) <= {0}

    def share(self, label: int) -> float:
        """Return the share of the image that a class covers, 0 to 1."""
        return self.areas.get(label, 0) / (self.height * self.width)

    def binary(self) -> Contents:
        """Return the same with every value but 0 counted as 1."""
        background = self.areas.get(0, 0)
        areas = {0: background, 1: sum(self.areas.values()) - background}
        return replace(self, areas={label: count for label, count in areas.items() if count})


def contents_of(header: Header, counts: npt.NDArray[np.int64]) -> Contents:
    """Return the contents of an image by its header and the (256,) counts of its mask."""
    wide = header.mode.startswith("I;16") or header.sample_bits > 8
    areas = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    return Contents(header.height, header.width, 16 if wide else 8, areas)


def count_values(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return (256,) int64: how many pixels of a mask have each value."""
    flat, counts = mask.reshape(-1), np.zeros(256, np.int64)
    for start in range(0, flat.size, BAND_PIXELS):
        counts += np.bincount(flat[start : start + BAND_PIXELS], minlength=256)
    return counts
