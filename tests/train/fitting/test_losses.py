"""The losses and the score, at points whose value is known or another library's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foveate.runtime.errors import SettingsError
from foveate.train.fitting.losses import (
    Loss,
    balanced_weights,
    focal,
    foreground_probabilities,
    loss_function,
    mean_dice,
    parse_weights,
    stage_loss,
    view_dice,
)
from foveate.train.networks.encoders import models
from foveate.train.settings.settings import LOSSES, Settings


def loss_named(name: str, *weights: float) -> Loss:
    return loss_function(Settings(loss=name), weights)


def one_class_a_pixel(classes: int, seed: int = 0) -> Tensor:
    """Return a target, (3, classes, 8, 8), each pixel wholly of one class or the background."""
    label = torch.randint(0, classes + 1, (3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return torch.stack([(label == k + 1).float() for k in range(classes)], dim=1)


def random_logits(classes: int) -> Tensor:
    channels = 1 if classes == 1 else classes + 1
    return torch.randn(3, channels, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [1, 2])
def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much(classes: int, name: str) -> None:
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
    loss = loss_named(name)
    assert float(loss(right, target)) == pytest.approx(0, abs=1e-4)
    assert float(loss(-right, target)) > (0.9 if "entropy" not in name and name != "focal" else 10)


def test_an_undecided_answer_costs_ln_2_and_half_overlap() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[0, 0, :2] = 1
    loss = float(loss_named("cross_entropy_dice")(torch.zeros(1, 1, 4, 4), target))
    dice = (2 * 4 + 1) / (16 * 0.25 + 8 + 1)
    assert loss == pytest.approx(math.log(2) + 1 - dice, abs=1e-6)
    parts = [float(loss_named(name)(torch.zeros(1, 1, 4, 4), target)) for name in LOSSES[1:3]]
    assert parts == pytest.approx([math.log(2), 1 - dice])


@pytest.mark.parametrize("classes", [1, 3])
def test_tversky_and_focal_tversky_are_another_librarys_but_for_the_1(classes: int) -> None:
    """smp adds nothing to numerator and denominator; over many pixels the 1 is small."""
    target, logits = one_class_a_pixel(classes), random_logits(classes)
    target, logits = (part.repeat(1, 1, 40, 40) for part in (target, logits))
    for name, gamma in (("tversky", 1.0), ("focal_tversky", 0.75)):
        theirs = models().losses.TverskyLoss(
            "multilabel", from_logits=False, alpha=0.3, beta=0.7, gamma=1.0
        )
        probability = foreground_probabilities(logits)
        each = [theirs(probability[:, [k]], target[:, [k]]) ** gamma for k in range(classes)]
        ours = loss_named(name)(logits, target)
        torch.testing.assert_close(ours, torch.stack(each).mean(), atol=1e-4, rtol=1e-4)


def test_focal_is_another_librarys_where_a_pixel_is_of_one_class() -> None:
    target, logits = one_class_a_pixel(1), random_logits(1)
    expected = models().losses.FocalLoss("binary", gamma=2.0)(logits, target)
    torch.testing.assert_close(loss_named("focal")(logits, target), expected)
    target, logits = one_class_a_pixel(3), random_logits(3)
    label = torch.cat([1 - target.sum(dim=1, keepdim=True), target], dim=1).argmax(dim=1)
    p = torch.softmax(logits, dim=1).gather(1, label[:, None])
    torch.testing.assert_close(focal(logits, target, 2.0), ((1 - p) ** 2 * -p.log()).mean())
    plain = torch.nn.functional.cross_entropy(logits, label)
    torch.testing.assert_close(focal(logits, target, 0.0), plain)


def test_focal_is_least_where_the_probability_is_the_share() -> None:
    target = torch.full((1, 1, 2, 2), 0.3)
    losses = [
        float(focal(torch.full((1, 1, 2, 2), math.log(p / (1 - p))), target, 2.0))
        for p in (0.2, 0.29, 0.3, 0.31, 0.4)
    ]
    assert min(losses) == losses[2] == pytest.approx(0, abs=1e-6)
    assert sorted(losses[:3], reverse=True) == losses[:3] and sorted(losses[2:]) == losses[2:]


def test_tversky_weighs_misses_over_false_alarms() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    sure = torch.full((1, 1, 8, 8), -20.0)
    missing, surplus = sure.clone(), sure.clone()
    missing[..., :2] = surplus[..., :6] = 20.0
    loss = loss_function(Settings(loss="tversky", tversky_alpha=0.2, tversky_beta=0.8))
    assert float(loss(missing, target)) == pytest.approx(1 - 17 / (16 + 0.8 * 16 + 1), abs=1e-5)
    assert float(loss(surplus, target)) == pytest.approx(1 - 33 / (32 + 0.2 * 16 + 1), abs=1e-5)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("share", [0.0, 1.0, 0.3])
def test_every_loss_is_finite_and_can_be_learnt_from(
    classes: int, name: str, share: float, weights: bool
) -> None:
    """On empty images, on all-foreground ones and on shares, out of bf16, also when sure."""
    target = torch.zeros(2, classes, 8, 8)
    target[:, 0] = share
    numbers = tuple(range(1, classes + 2)) if weights else ()
    for scale in (1.0, 80.0):
        logits = (random_logits(classes)[:2] * scale).bfloat16().requires_grad_()
        loss = loss_named(name, *numbers)(logits.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite() and loss >= 0 and logits.grad is not None
        assert logits.grad.isfinite().all() and logits.grad.abs().sum() > 0


def test_weights_of_classes_multiply_their_part() -> None:
    target = torch.zeros(1, 2, 4, 4)
    target[0, 0, :2] = 1
    logits = torch.zeros(1, 3, 4, 4)
    entropy = loss_named("cross_entropy", 1.0, 4.0, 2.0)(logits, target)
    assert float(entropy) == pytest.approx(math.log(3) * (8 * 4 + 8 * 1) / 16)
    one = torch.zeros(1, 1, 4, 4)
    assert float(loss_named("cross_entropy", 0.5, 3.0)(one, target[:, :1])) == pytest.approx(
        math.log(2) * (8 * 3 + 8 * 0.5) / 16
    )
    every = [float(loss_named("dice", 1.0, *pair)(logits, target)) for pair in ((1, 0), (0, 1))]
    assert float(loss_named("dice", 1.0, 1, 3)(logits, target)) == pytest.approx(
        0.25 * every[0] + 0.75 * every[1]
    )
    plain, weighed = loss_named("tversky"), loss_named("tversky", 5.0, 7.0)
    torch.testing.assert_close(plain(one, target[:, :1]), weighed(one, target[:, :1]))


def test_balanced_weights_are_scikit_learns() -> None:
    target = torch.zeros(2, 4, 4)
    target[0, 0], target[1, 1, :2] = 1, 1
    data = [(torch.zeros(1, 4, 4), target)] * 64
    expected = pytest.approx((1 / (3 * 10 / 16), 1 / (3 / 4), 1 / (3 / 8)))
    assert balanced_weights(data, 2) == expected  # type: ignore[arg-type]
    half = torch.cat([target, torch.zeros(1, 4, 4)])
    half[2, 2:] = 1
    halves = [(torch.zeros(1, 4, 4), half)] * 64
    expected = pytest.approx((1 / (3 / 4), 1 / (3 / 2), 1 / (3 / 4)))
    assert balanced_weights(halves, 2) == expected  # type: ignore[arg-type]
    logits = torch.zeros(1, 3, 4, 4)
    found = stage_loss(Settings(class_weights="auto", loss="cross_entropy"), "abc", data)  # type: ignore[arg-type]
    assert float(found(logits, target[None])) == pytest.approx(math.log(3))


@pytest.mark.parametrize("text", ["1", "1,2,3", "1,x", "1,-2", "1,0", "1,nan", "1,inf"])
def test_weights_that_cannot_be(text: str) -> None:
    with pytest.raises(SettingsError, match="class_weights is .*expected auto, or 2 numbers"):
        parse_weights(text, 2)
    assert parse_weights("0.5, 2", 2) == (0.5, 2.0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [1, 2])
def test_what_is_not_labelled_counts_in_no_loss(classes: int, name: str) -> None:
    """It is the loss of the labelled part, and no gradient reaches the rest, whatever is there."""
    target, logits = one_class_a_pixel(classes), random_logits(classes)
    ignored = torch.zeros(3, 1, 8, 8)
    ignored[..., 5:] = 1
    loss = loss_named(name)
    for garbage in (0.0, 1.0):
        target[..., 5:] = garbage
        seen = logits.clone().requires_grad_()
        found = loss(seen, torch.cat([target, ignored], dim=1))
        torch.testing.assert_close(found, loss(logits[..., :5], target[..., :5]))
        found.backward()
        assert seen.grad is not None and seen.grad[..., :5].any() and not seen.grad[..., 5:].any()
    nothing = loss(seen, torch.cat([target, torch.ones_like(ignored)], dim=1))
    nothing.backward()
    assert float(nothing.detach()) == 0


def test_shares_are_those_of_the_labelled_part() -> None:
    shares = torch.tensor([0.15, 0.4])[:, None, None].expand(1, 2, 2, 2)
    logits = torch.full((1, 1, 2, 2), math.log(0.25 / 0.75))
    loss = loss_named("focal")  # least, 0, where the probability is the share
    assert float(loss(logits, shares)) == pytest.approx(0, abs=1e-6)


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
    ignored = torch.zeros(3, 1, 4, 4)
    ignored[0, 0, 1], ignored[0, 0, 0, :2], ignored[1, 0, 0, 0] = 1, 1, 1
    dice = view_dice(logits, torch.cat([target, ignored], dim=1))[:, 0].tolist()
    assert dice[0] == 1 and math.isnan(dice[1])


def test_foreground_probabilities_leave_the_background_out() -> None:
    logits = torch.randn(2, 4, 3, 3)
    total = foreground_probabilities(logits).sum(dim=1) + torch.softmax(logits, dim=1)[:, 0]
    torch.testing.assert_close(total, torch.ones(2, 3, 3))


def test_views_with_nothing_to_find_and_nothing_found_have_no_dice() -> None:
    nothing = view_dice(torch.full((1, 1, 4, 4), -9.0), torch.zeros(1, 1, 4, 4))
    assert nothing.isnan().all() and mean_dice([nothing, nothing]) == 0
    assert mean_dice([nothing, torch.ones(1, 1)]) == 1
