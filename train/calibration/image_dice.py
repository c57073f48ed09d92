"""The Dice that trainings choose by: of masks at the image's own size, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.agreement import IGNORED, Mask, without_ignored

WHOLE = (slice(None), slice(None))


def class_dice(
    mask: Mask, truth: Mask, classes: int, place: tuple[slice, slice] = WHOLE
) -> list[float]:
    """Return the Dice of each foreground class; NaN where neither mask has it.

    ``truth`` is (H, W); ``mask`` is what lies at ``place`` in it, and empty elsewhere. Pixels that
    are IGNORED in the truth do not count.
    """
    expected = np.bincount(truth.ravel(), minlength=256)
    if expected[IGNORED]:
        mask = without_ignored(mask, truth[place])
    found = np.bincount(mask.ravel(), minlength=256)
    alike = np.bincount(mask[mask == truth[place]], minlength=256)
    totals = (found + expected)[1 : classes + 1]
    return [
        float(2 * both / total) if total else float("nan")
        for both, total in zip(alike[1 : classes + 1], totals, strict=True)
    ]


def class_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over images of each class, NaN left out; NaN where a class has nothing."""
    columns = [column[~np.isnan(column)] for column in np.array(rows, np.float64).T]
    return [float(column.mean()) if len(column) else float("nan") for column in columns]


def mean_dice_of(rows: Sequence[Sequence[float]]) -> float:
    """Return the mean over the classes of their mean over images, NaN left out; 1 if all are."""
    means = [mean for mean in class_means(rows) if not np.isnan(mean)]
    return round(float(np.mean(means)), 5) if means else 1.0
