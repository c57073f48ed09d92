"""Calibration: errors worked out by hand, and bins that hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveate.benchmarks.evaluation.calibration import BINS, Reliability


def test_the_error_is_weighted_by_pixels() -> None:
    found = Reliability()
    found.add(np.full(30, 0.9, np.float32), np.arange(30) < 15)  # off by 0.4
    found.add(np.full(10, 0.2, np.float32), np.arange(10) < 3)  # off by 0.1
    assert found.ece == pytest.approx((30 * 0.4 + 10 * 0.1) / 40, abs=1e-6)


def test_probabilities_that_come_true_have_no_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000).astype(np.float32)
    true, false = Reliability(), Reliability()
    true.add(probability, rng.random(200_000) < probability)
    false.add(probability, rng.random(200_000) < probability**2)
    assert true.ece < 0.01
    assert false.ece == pytest.approx(1 / 6, abs=0.01)  # the mean of p - p * p


def test_bins_are_equally_wide_and_closed_above() -> None:
    found = Reliability()
    values = np.array([0.0, 1 / 15, 0.0667, 0.5, 1.0], np.float32)
    found.add(values, np.array([False, False, True, True, True]))
    table = found.table()
    assert [item.pixels for item in table if item.pixels] == [2, 1, 1, 1]
    assert len(table) == BINS and table[0].stop == pytest.approx(1 / 15)
    assert (table[1].truth, table[7].probability, table[14].pixels) == (1.0, 0.5, 1)
    assert math.isnan(table[2].truth)


def test_no_pixels_have_no_error() -> None:
    assert math.isnan(Reliability().ece)
