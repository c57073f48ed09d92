"""Whether a probability means what it says: the reliability of the foreground's probability.

Expected calibration error (ECE) after Guo et al. 2017, "On Calibration of Modern Neural Networks",
with 15 bins of equal width. The event is "this pixel is foreground, of whichever class"; all
pixels of all images are pooled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Binary = npt.NDArray[np.bool_]
BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin: ``start`` < probability <= ``stop``, its pixels, their mean and the truth's share.

    ``probability`` and ``truth`` are NaN in a bin without pixels. The first bin holds 0 too.
    """

    start: float
    stop: float
    pixels: int
    probability: float
    truth: float


class Reliability:
    """Sums over the pixels seen so far. Memory does not grow with the number of images."""

    def __init__(self) -> None:
        self.pixels = np.zeros(BINS, np.int64)
        self.probability = np.zeros(BINS)
        self.truth = np.zeros(BINS, np.int64)

    def add(self, probability: FloatArray, truth: Binary) -> None:
        """Add pixels: their probabilities in [0, 1], float32, and whether each is foreground."""
        values = probability.ravel()
        place = np.clip(np.ceil(values * np.float32(BINS)).astype(np.int64) - 1, 0, BINS - 1)
        self.pixels += np.bincount(place, minlength=BINS)
        self.probability += np.bincount(place, weights=values, minlength=BINS)
        self.truth += np.bincount(place[truth.ravel()], minlength=BINS)

    @property
    def ece(self) -> float:
        """Mean over pixels of |mean probability - share of truth| of their bin; NaN without any."""
        total = self.pixels.sum()
        return float(np.abs(self.probability - self.truth).sum() / total) if total else float("nan")

    def table(self) -> list[ReliabilityBin]:
        """Return the bins, lowest probability first."""
        with np.errstate(invalid="ignore"):
            mean, share = self.probability / self.pixels, self.truth / self.pixels
        return [
            ReliabilityBin(i / BINS, (i + 1) / BINS, int(count), float(mean[i]), float(share[i]))
            for i, count in enumerate(self.pixels)
        ]
