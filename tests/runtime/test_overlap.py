"""Dice and disagreement, at values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveate.runtime.overlap import Disagreement, dice

EMPTY = np.zeros((4, 4), np.uint8)


def rows(*values: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    mask = np.zeros((4, 4), np.uint8)
    for row, value in enumerate(values):
        mask[row] = value
    return mask


def test_dice() -> None:
    assert dice(rows(1, 1), rows(0, 1, 1), 1) == pytest.approx(0.5)
    assert dice(rows(1, 2), rows(1, 1), 2) == 0
    assert math.isnan(dice(EMPTY, EMPTY, 1))


def test_disagreement_is_pooled_over_the_foreground() -> None:
    total = Disagreement()
    assert total.add("a", rows(1, 1), rows(1), False) == pytest.approx(0.5)
    assert total.add("b", rows(1, 1, 1, 1), rows(1, 1, 1, 1), True) == 0
    assert total.value == pytest.approx(4 / 24)
    assert (total.worst_name, total.moved_boxes, total.flips) == ("a", 1, 0)


def test_two_empty_masks_agree_and_a_flip_is_counted() -> None:
    total = Disagreement()
    assert total.add("a", EMPTY, EMPTY, False) == 0
    assert total.add("b", rows(1), EMPTY, False) == 1
    assert total.flips == 1


def test_another_class_disagrees() -> None:
    assert Disagreement().add("a", rows(2), rows(1), False) == 1
