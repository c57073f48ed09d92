"""Confidence intervals by resampling whole groups of images.

The percentile bootstrap of Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13,
on clusters: images of one patient or one place are alike, so groups are drawn, not images (Field &
Welsh 2007, "Bootstrapping clustered data"). Two methods are compared on the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
RESAMPLES = 10_000
SEED = 0
LEVEL = 0.95
FEW_GROUPS = 20
"""Below this the percentile interval is known to be too narrow; it is said in words."""
CHUNK = 500
"""Draws made at once: the memory is CHUNK times the number of groups."""


@dataclass(frozen=True)
class Draws:
    """The same statistic on the whole data set and on every resample of its groups.

    The last axis of both is the class, its last entry the mean over the classes. ``whole`` is
    (K, C + 1), ``resampled`` (RESAMPLES, K, C + 1), NaN where no image says anything.
    """

    whole: Array
    resampled: Array


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95% interval, in the figure's own unit."""

    value: float
    low: float
    high: float


def resample(values: Array, groups: Sequence[str]) -> Draws:
    """Return the means of (K, C, images) figures over images, then over classes, resampled.

    NaN is left out of a mean over images; a class with no figure left is left out of the mean
    over classes. ``groups`` names the group of each image. Groups are drawn with replacement, as
    many as there are; a group drawn twice counts twice.
    """
    known = ~np.isnan(values)
    sums, counts = _by_group(np.where(known, values, 0.0), groups), _by_group(known, groups)
    number = len(sums)
    rng = np.random.default_rng(SEED)
    drawn = []
    for start in range(0, RESAMPLES, CHUNK):
        size = min(CHUNK, RESAMPLES - start)
        picks = rng.integers(0, number, (size, number)) + number * np.arange(size)[:, None]
        weights = np.bincount(picks.ravel(), minlength=size * number).reshape(size, number)
        drawn.append(_means(weights.astype(np.float64), sums, counts, values.shape[:2]))
    return Draws(means(values), np.concatenate(drawn))


def means(values: Array) -> Array:
    """Return (K, C + 1): (K, C, images) figures averaged over images, then over classes.

    NaN is left out. Sums are exact before they are rounded, so that a mean does not depend on what
    else is averaged in the same call.
    """
    whole = np.full((values.shape[0], values.shape[1] + 1), np.nan)
    for place in np.ndindex(values.shape[:2]):
        whole[place] = _mean(values[place])
    for row in whole:
        row[-1] = _mean(row[:-1])
    return whole


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return math.fsum(known) / len(known) if len(known) else math.nan


def _by_group(values: npt.NDArray[np.generic], groups: Sequence[str]) -> Array:
    """Return (groups, K * C) sums of (K, C, images) values."""
    names, place = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    total = np.zeros((len(names), values.shape[0] * values.shape[1]))
    np.add.at(total, place.ravel(), values.reshape(-1, values.shape[-1]).T.astype(np.float64))
    return total


def _means(weights: Array, sums: Array, counts: Array, shape: tuple[int, ...]) -> Array:
    """Return (draws, K, C + 1): the mean of each class, then their mean."""
    with np.errstate(invalid="ignore", divide="ignore"):
        per_class = ((weights @ sums) / (weights @ counts)).reshape(-1, *shape)
        known = ~np.isnan(per_class)
        total = np.where(known, per_class, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return np.concatenate([per_class, total[..., None]], axis=-1)


def interval(whole: float, resampled: Array) -> Interval:
    """Return the figure with its percentile interval; draws that are NaN are left out."""
    known = resampled[~np.isnan(resampled)]
    if np.isnan(whole) or not len(known):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(whole), float(low), float(high))
