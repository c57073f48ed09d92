"""The loss and the score, at points whose value is known."""

from __future__ import annotations

import math

import pytest
import torch

from foveate.train.losses import foreground_probabilities, segmentation_loss, view_dice


@pytest.mark.parametrize("classes", [1, 2])
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much(classes: int) -> None:
    target = torch.zeros(2, classes, 8, 8)
    target[:, 0, 2:5, 2:6] = 1
    channels = 1 if classes == 1 else classes + 1
    right = torch.full((2, channels, 8, 8), -20.0)
    if classes == 1:
        right[target > 0] = 20.0
    else:
        right[:, 1:][target > 0] = 20.0
        right[:, 0] = torch.where(target.sum(dim=1) > 0, -20.0, 20.0)
    # a class that is nowhere adds 1 - (0 + 1) / (0 + 1) = 0
    assert float(segmentation_loss(right, target)) == pytest.approx(0, abs=1e-4)
    assert float(segmentation_loss(-right, target)) > 10


def test_an_undecided_answer_costs_ln_2_and_half_overlap() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[0, 0, :2] = 1
    loss = float(segmentation_loss(torch.zeros(1, 1, 4, 4), target))
    dice = (2 * 4 + 1) / (16 * 0.25 + 8 + 1)
    assert loss == pytest.approx(math.log(2) + 1 - dice, abs=1e-6)


def test_dice_of_a_view() -> None:
    target = torch.zeros(3, 1, 4, 4)
    target[0, 0, 0] = 1
    logits = torch.full((3, 1, 4, 4), -1.0)
    logits[0, 0, :2] = 1
    logits[1, 0, 0, 0] = 1
    dice = view_dice(logits, target)[:, 0].tolist()
    assert dice[0] == pytest.approx(2 * 4 / 12)
    assert dice[1] == 0
    assert math.isnan(dice[2])


def test_foreground_probabilities_leave_the_background_out() -> None:
    logits = torch.randn(2, 4, 3, 3)
    total = foreground_probabilities(logits).sum(dim=1) + torch.softmax(logits, dim=1)[:, 0]
    torch.testing.assert_close(total, torch.ones(2, 3, 3))
