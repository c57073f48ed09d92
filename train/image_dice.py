"""The Dice that trainings choose by: of masks at the image's own size, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.overlap import Mask, dice


def class_dice(mask: Mask, truth: Mask, classes: int) -> list[float]:
    """Return the Dice of each foreground class of (H, W) masks; NaN where neither has it."""
    return [dice(mask, truth, label) for label in range(1, classes + 1)]


def mean_dice_of(rows: Sequence[Sequence[float]]) -> float:
    """Return the mean over the classes of their mean over images, NaN left out; 1 if all are."""
    means = [
        column[~np.isnan(column)].mean()
        for column in np.array(rows).T
        if not np.isnan(column).all()
    ]
    return round(float(np.mean(means)), 5) if means else 1.0
