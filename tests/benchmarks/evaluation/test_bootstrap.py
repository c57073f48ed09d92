"""Intervals: a small case done by hand, groups that count once, and pairs drawn together."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.benchmarks.evaluation.bootstrap import RESAMPLES, interval, resample

NAN = float("nan")


def names(count: int) -> list[str]:
    return [f"g{index}" for index in range(count)]


def test_two_images_give_the_three_means_there_are() -> None:
    draws = resample(np.array([[[0.2, 0.8]]]), names(2))
    assert draws.whole[0].tolist() == pytest.approx([0.5, 0.5])
    values, counts = np.unique(draws.resampled[:, 0, 0].round(6), return_counts=True)
    assert values.tolist() == [0.2, 0.5, 0.8]
    assert counts / RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    found = interval(draws.whole[0, 0], draws.resampled[:, 0, 0])
    assert (found.low, found.high) == pytest.approx((0.2, 0.8))


def test_the_interval_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    draws = resample(values[None, None], names(400))
    found = interval(draws.whole[0, 0], draws.resampled[:, 0, 0])
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.value - found.low == pytest.approx(1.96 * error, rel=0.05)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.05)


def test_images_repeated_within_their_group_add_no_certainty() -> None:
    values = np.random.default_rng(3).random(12)
    once = resample(values[None, None], names(12))
    often = resample(np.repeat(values, 5)[None, None], [n for n in names(12) for _ in range(5)])
    apart = resample(np.repeat(values, 5)[None, None], names(60))
    assert np.allclose(often.resampled, once.resampled)
    assert apart.resampled.std() < 0.6 * once.resampled.std()


def test_means_over_images_then_classes_leave_out_what_is_not_known() -> None:
    values = np.array([[[0.8, NAN, 0.6], [0.1, 0.3, NAN], [NAN, NAN, NAN]]])
    draws = resample(values, names(3))
    assert draws.whole[0, :2].tolist() == pytest.approx([0.7, 0.2])
    assert np.isnan(draws.whole[0, 2]) and draws.whole[0, 3] == pytest.approx(0.45)
    found = interval(draws.whole[0, 2], draws.resampled[:, 0, 2])
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_constant_difference_is_certain_however_much_images_vary() -> None:
    values = np.random.default_rng(4).random(30)
    draws = resample(np.stack([values[None], values[None] - 0.1]), names(30))
    pairs = draws.resampled[:, 0, 0] - draws.resampled[:, 1, 0]
    found = interval(draws.whole[0, 0] - draws.whole[1, 0], pairs)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_it_is_the_same_every_time() -> None:
    values = np.random.default_rng(5).random((2, 3, 30))
    draws = resample(values, names(30))
    assert np.array_equal(draws.resampled, resample(values, names(30)).resampled)
