"""Outlines along the edges of pixels: filled by OpenCV they are the objects again."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from foveate.runtime.objects.labels import label_objects
from foveate.runtime.objects.outlines import Ring, joined, outlines
from foveate.train.convert.dataset import fill
from tests.drawing import speckled


def filled(rings: list[Ring], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Fill four times as large, where the middle of a pixel is off every edge; holes stay free."""
    large = np.zeros([4 * side + 1 for side in shape], np.uint8)
    cv2.fillPoly(large, [4 * np.array(ring, np.int32) for ring in rings], 1)
    return np.asarray(large[2::4, 2::4], bool)


@pytest.mark.parametrize("share", [0.03, 0.4, 0.6, 0.97, 1])
def test_outlines_enclose_the_pixels_of_each_object(share: float) -> None:
    for seed in range(10):
        objects = label_objects(speckled(seed, share))
        found = outlines(objects.numbers)
        assert len(found) == len(objects.classes)
        for number, rings in enumerate(found, 1):
            inside = objects.numbers == number
            np.testing.assert_array_equal(filled(rings, inside.shape), inside)
            one = np.zeros(inside.shape, np.uint8)
            fill(one, joined(rings).ravel().tolist(), 1)
            np.testing.assert_array_equal(one, inside)


def test_outlines_turn_clockwise_and_around_holes_the_other_way() -> None:
    numbers = np.ones((3, 4), np.int32)
    numbers[1, 1:3] = 0
    outer, hole = outlines(numbers)[0]
    assert outer == [(0, 0), (4, 0), (4, 3), (0, 3)]
    assert hole == [(1, 1), (1, 2), (3, 2), (3, 1)]
    assert joined([outer, hole]).tolist() == [
        [0, 0], [1, 1], [1, 2], [3, 2], [3, 1], [1, 1], [0, 0], [4, 0], [4, 3], [0, 3]
    ]  # fmt: skip
    assert outlines(np.zeros((3, 4), np.int32)) == []
