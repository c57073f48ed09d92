"""How good one mask of one class is: overlap and distance, counted in pixels and millimetres.

The distances are those of ``surface_distance`` (google-deepmind, extra ``evaluate``): Nikolov et
al. 2018, "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
radiotherapy", which also defines the surface Dice. A surface is the line between pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from surface_distance import (
    compute_robust_hausdorff,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

from foveate.runtime.io.formats.pixel_size import PixelSize

Binary = npt.NDArray[np.bool_]
NAN = float("nan")
PIXELS = (1.0, 1.0)
"""Height and width of a pixel where distances are in pixels."""


@dataclass(frozen=True)
class Metrics:
    """One class of one image. All are NaN when neither mask nor truth has the class.

    ``dice``, ``iou``, ``precision``, ``recall`` and ``surface_dice`` are in [0, 1], ``hd95`` is in
    pixels. When only one of the two has the class, ``hd95`` is the image's diagonal and the others
    are 0, so every column is a mean over the same images. ``hd95_mm`` is ``hd95`` in millimetres,
    NaN where the size of a pixel is not known.
    """

    dice: float = NAN
    iou: float = NAN
    precision: float = NAN
    recall: float = NAN
    hd95: float = NAN
    surface_dice: float = NAN
    hd95_mm: float = NAN


NAMES = tuple(item.name for item in fields(Metrics))


def measure(
    mask: Binary, truth: Binary, tolerance: float, size: PixelSize | None = None
) -> Metrics:
    """Return the figures of one (H, W) mask against its (H, W) truth.

    ``tolerance`` is the distance in pixels within which two surfaces count as the same; ``size``
    that of a pixel.
    """
    spacing = (size.height, size.width) if size else (NAN, NAN)
    overlaps = overlap(mask, truth)
    if np.isnan(overlaps[0]):
        return Metrics()
    if not mask.any() or not truth.any():
        diagonal = float(np.hypot(*truth.shape))
        diagonal_mm = float(np.hypot(*np.multiply(truth.shape, spacing)))
        return Metrics(*overlaps, diagonal, 0.0, diagonal_mm)
    surfaces = _surfaces(mask, truth, PIXELS)
    hd95 = float(compute_robust_hausdorff(surfaces, 95))
    hd95_mm = hd95 * spacing[0]
    if size and size.height != size.width:
        hd95_mm = float(compute_robust_hausdorff(_surfaces(mask, truth, spacing), 95))
    return Metrics(
        *overlaps,
        hd95=hd95,
        surface_dice=float(compute_surface_dice_at_tolerance(surfaces, tolerance)),
        hd95_mm=hd95_mm,
    )


def overlap(mask: Binary, truth: Binary) -> tuple[float, float, float, float]:
    """Return Dice, IoU, precision and recall of one (H, W) mask, as ``Metrics`` defines them."""
    found, expected = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    if not found and not expected:
        return NAN, NAN, NAN, NAN
    if not found or not expected:
        return 0.0, 0.0, 0.0, 0.0
    both = int(np.count_nonzero(mask & truth))
    return (
        2 * both / (found + expected),
        both / (found + expected - both),
        both / found,
        both / expected,
    )


def _surfaces(mask: Binary, truth: Binary, spacing: tuple[float, float]) -> dict[str, Any]:
    """Return what the library says of two masks that both hold something, in units of ``spacing``.

    Only the rows and columns that either mask reaches are looked at; nothing outside them can be
    nearer to a surface, and the library adds the rim of zeros itself.
    """
    either = mask | truth
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    with warnings.catch_warnings():  # version 0.1 uses names that SciPy 2 will drop
        warnings.simplefilter("ignore", DeprecationWarning)
        found: dict[str, Any] = compute_surface_distances(truth[window], mask[window], spacing)
    return found
