"""Overlap and distance of shapes whose figures can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from foveate.benchmarks.evaluation.metrics import measure
from foveate.runtime.io.formats.pixel_size import PixelSize


def square(top: int, left: int, side: int = 20) -> npt.NDArray[np.bool_]:
    mask = np.zeros((64, 48), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_square_moved_by_three_pixels() -> None:
    found = measure(square(10, 13), square(10, 10), tolerance=0.5)
    assert found.dice == pytest.approx(2 * 340 / 800)
    assert found.iou == pytest.approx(340 / 460)
    assert (found.precision, found.recall) == pytest.approx((340 / 400, 340 / 400))
    assert found.hd95 == 3.0
    # the outline is 76 long and four corners of half a diagonal; on top and bottom it lies on the
    # other one for 17 pixels and one corner
    corner = math.sqrt(0.5)
    assert found.surface_dice == pytest.approx(2 * (17 + corner) / (76 + 4 * corner))


def test_the_tolerance_decides_the_surface_dice() -> None:
    moved, truth = square(10, 13), square(10, 10)
    assert measure(moved, truth, 3.0).surface_dice == 1.0
    assert measure(moved, truth, 2.0).surface_dice < 1.0


def test_precision_is_of_the_mask_and_recall_of_the_truth() -> None:
    found = measure(square(10, 10, 10), square(10, 10, 20), 1.0)
    assert (found.precision, found.recall) == (1.0, 0.25)
    assert found.dice == pytest.approx(2 * 100 / 500)
    # 5% of the truth's outline, 3.9 of 78.8, is the far corner and two pixels beside it each way;
    # the second of them is 10 across and 8 along from the corner of the mask
    assert found.hd95 == pytest.approx(math.hypot(10, 8))


def test_one_far_pixel_is_under_the_95th_percentile() -> None:
    mask = square(10, 10)
    mask[60, 40] = True
    found = measure(mask, square(10, 10), 1.0)
    assert found.hd95 == 0.0 and 0.97 < found.surface_dice < 1.0


@pytest.mark.parametrize("side", [0, 20])
def test_a_mask_or_truth_that_is_empty(side: int) -> None:
    one, other = square(10, 10, side), square(10, 10, 20 - side)
    found = measure(one, other, 2.0)
    assert (found.dice, found.iou, found.precision, found.recall) == (0, 0, 0, 0)
    assert found.surface_dice == 0 and found.hd95 == 80.0  # the diagonal of 64 x 48


def test_two_empty_masks_say_nothing() -> None:
    found = measure(square(0, 0, 0), square(0, 0, 0), 2.0)
    assert all(math.isnan(value) for value in vars(found).values())


def test_masks_that_reach_the_edges_are_equal_to_themselves() -> None:
    whole = np.ones((5, 7), bool)
    found = measure(whole, whole, 0.0)
    assert (found.dice, found.hd95, found.surface_dice) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("top", "left", "expected"), [(13, 10, 6.0), (10, 13, 1.5), (13, 14, 6.0)])
def test_pixels_that_are_not_square(top: int, left: int, expected: float) -> None:
    """Two millimetres high and half a one wide: 3 down are 6 mm, 3 across are 1.5 mm."""
    size = PixelSize(0.5, 2.0)
    found = measure(square(top, left), square(10, 10), 2.0, size)
    assert found.hd95_mm == pytest.approx(expected)
    assert found.hd95 == measure(square(top, left), square(10, 10), 2.0).hd95
    alone = measure(square(top, left), square(0, 0, 0), 2.0, size)
    assert alone.hd95_mm == math.hypot(64 * 2, 48 * 0.5)


def test_square_pixels_and_pixels_of_unknown_size() -> None:
    moved, truth = square(13, 14), square(10, 10)
    found = measure(moved, truth, 2.0, PixelSize(0.25, 0.25))
    assert found.hd95_mm == pytest.approx(found.hd95 / 4)
    assert math.isnan(measure(moved, truth, 2.0).hd95_mm)
