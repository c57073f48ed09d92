"""What stage 1 costs the cascade: truth outside the box, which stage 2 never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.benchmarks.evaluation.evaluate import ImageRow

LOST_SHARE = 0.02
"""An image whose box leaves out more of the truth than this is counted as one that loses."""


@dataclass(frozen=True)
class CoarseMiss:
    """Truth outside the boxes of stage 2.

    ``pooled`` is the share of all truth pixels of all images, ``losing`` the number of images that
    lose more than 2% of their truth, of ``images`` that have any truth.
    """

    pooled: float
    losing: int
    images: int

    def losing_words(self) -> str:
        """Return how many images lose truth, in words."""
        return f"{self.losing} of {self.images} images lose more than {LOST_SHARE:.0%}"


def coarse_miss(rows: Sequence[ImageRow], method: str) -> CoarseMiss:
    """Return what the boxes of a method leave out, all classes together."""
    lost: dict[str, float] = {}
    total: dict[str, int] = {}
    for row in rows:
        if row.method == method and row.truth_pixels:
            lost[row.stem] = lost.get(row.stem, 0.0) + row.missed * row.truth_pixels
            total[row.stem] = total.get(row.stem, 0) + row.truth_pixels
    losing = sum(lost[stem] > LOST_SHARE * total[stem] for stem in total)
    pooled = sum(lost.values()) / sum(total.values()) if total else float("nan")
    return CoarseMiss(pooled, losing, len(total))
