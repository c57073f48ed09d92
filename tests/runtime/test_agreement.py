"""Dice and disagreement, at values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveate.runtime.agreement import Disagreement, Pair, compare_masks, dice, moved

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


def total(*pairs: Pair) -> Disagreement:
    return Disagreement(list(pairs))


def test_disagreement_is_pooled_over_the_foreground() -> None:
    first = compare_masks("a", rows(1, 1), rows(1), False)
    second = compare_masks("b", rows(1, 1, 1, 1), rows(1, 1, 1, 1), True)
    both = total(first, second)
    assert (first.disagreement, second.disagreement) == (0.5, 0)
    assert both.value == pytest.approx(4 / 24)
    assert both.worst == first
    assert (both.moved_boxes, both.flips) == (["b"], [])


def test_two_empty_masks_agree_and_a_flip_is_counted() -> None:
    agree = compare_masks("a", EMPTY, EMPTY, False)
    flip = compare_masks("b", rows(1), EMPTY, False)
    assert (agree.disagreement, flip.disagreement) == (0, 1)
    assert total(agree, flip).flips == ["b"]
    assert total(agree).worst is None


def test_another_class_disagrees() -> None:
    assert compare_masks("a", rows(2), rows(1), False).disagreement == 1


def test_the_mean_dice_is_taken_where_there_is_truth_and_false_alarms_apart() -> None:
    truth = rows(1, 1)
    pairs = [
        compare_masks("a", rows(1), truth, False, truth),  # 2/3 against 1
        compare_masks("b", rows(1), EMPTY, False, EMPTY),  # no truth: a false alarm, no Dice
    ]
    assert (pairs[1].dice, pairs[1].false_alarms, pairs[0].false_alarms) == ((), 1, 0)
    assert total(*pairs).dice_change == pytest.approx(2 / 3 - 1)
    assert total(pairs[1]).dice_change is None
    partly = compare_masks("d", rows(1, 0, 2), truth, False, rows(1, 255, 255))
    assert (partly.dice, partly.dice_reference, partly.false_alarms) == ((1,), (1,), 0)
    agree = compare_masks("c", truth, truth, False, truth)
    assert total(agree).held("fp32")
    assert not total(*pairs).held("int8")


def test_a_box_moves_by_more_than_half_a_pixel() -> None:
    box = np.array([1, 2, 30, 40], np.float32)
    assert not moved(box + np.float32(0.5), box)
    assert moved(box + np.array([0, 0, 0.6, 0], np.float32), box)


def test_tiles_in_another_order_have_not_moved() -> None:
    tiles = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16]], np.float32)
    assert not moved(tiles[[2, 0, 1]], tiles)
    assert moved(tiles[[2, 0, 0]], tiles) and moved(tiles[:2], tiles)
