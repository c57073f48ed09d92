"""How good one mask of one class is: overlap and distance, counted in pixels.

The distances are those of ``surface_distance`` (google-deepmind, extra ``evaluate``): Nikolov et
al. 2018, "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
radiotherapy", which also defines the surface Dice. A surface is the line between pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from surface_distance import (
    compute_robust_hausdorff,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

Binary = npt.NDArray[np.bool_]
NAN = float("nan")
SPACING = (1.0, 1.0)
"""Distances are in pixels: one pixel is one unit high and one wide."""


@dataclass(frozen=True)
class Metrics:
    """One class of one image. All are NaN when neither mask nor truth has the class.

    ``dice``, ``iou``, ``precision``, ``recall`` and ``surface_dice`` are in [0, 1], ``hd95`` is in
    pixels. When only one of the two has the class, ``hd95`` is the image's diagonal and the others
    are 0, so every column is a mean over the same images.
    """

    dice: float = NAN
    iou: float = NAN
    precision: float = NAN
    recall: float = NAN
    hd95: float = NAN
    surface_dice: float = NAN


NAMES = tuple(item.name for item in fields(Metrics))


def measure(mask: Binary, truth: Binary, tolerance: float) -> Metrics:
    """Return the figures of one (H, W) mask against its (H, W) truth.

    ``tolerance`` is the distance in pixels within which two surfaces count as the same.
    """
    found, expected = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    if not found and not expected:
        return Metrics()
    if not found or not expected:
        return Metrics(0.0, 0.0, 0.0, 0.0, float(np.hypot(*truth.shape)), 0.0)
    both = int(np.count_nonzero(mask & truth))
    hd95, surface_dice = _distances(mask, truth, tolerance)
    return Metrics(
        dice=2 * both / (found + expected),
        iou=both / (found + expected - both),
        precision=both / found,
        recall=both / expected,
        hd95=hd95,
        surface_dice=surface_dice,
    )


def _distances(mask: Binary, truth: Binary, tolerance: float) -> tuple[float, float]:
    """Return HD95 and surface Dice of two masks that both hold something.

    Only the rows and columns that either mask reaches are looked at; nothing outside them can be
    nearer to a surface, and the library adds the rim of zeros itself.
    """
    either = mask | truth
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    with warnings.catch_warnings():  # version 0.1 uses names that SciPy 2 will drop
        warnings.simplefilter("ignore", DeprecationWarning)
        found = compute_surface_distances(truth[window], mask[window], SPACING)
    return (
        float(compute_robust_hausdorff(found, 95)),
        float(compute_surface_dice_at_tolerance(found, tolerance)),
    )
