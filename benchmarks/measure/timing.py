"""How times are taken and summed up: warm-up until stable, interleaved runs, percentiles.

Wall-clock time of this process (``time.perf_counter``), in milliseconds in everything reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STABLE = 0.05
"""Warm-up ends when the medians of the last two windows differ by less than this share."""
WINDOW = 3
WARM_UP_SECONDS = 10.0
"""Warm-up ends after this time at the latest, and after two windows at the earliest."""
PAUSE_SECONDS = 0.06
"""Between two calls: ONNX Runtime's idle threads spin for 40 ms, on the next one's cores."""
UNSTEADY = 0.025
"""Coefficient of variation above which times are unsteady, as in trtexec."""
SEED = 0
SPREAD = (10, 90)
"""The percentiles printed as the spread of a ratio."""


@dataclass(frozen=True)
class Distribution:
    """Times of ``n`` runs in milliseconds. ``cv`` is standard deviation / mean.

    Percentiles interpolate linearly between the samples. ``samples_ms`` are in order of time.
    """

    n: int
    min_ms: float
    median_ms: float
    mean_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cv: float
    samples_ms: tuple[float, ...]


def distribution(seconds: Sequence[float]) -> Distribution:
    """Return the figures of at least one run's seconds."""
    values = np.round(np.asarray(seconds, float) * 1000, 4)
    p90, p95, p99 = np.percentile(values, (90, 95, 99))
    mean = float(values.mean())
    return Distribution(
        n=len(values),
        min_ms=float(values.min()),
        median_ms=float(np.median(values)),
        mean_ms=mean,
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        max_ms=float(values.max()),
        cv=float(values.std() / mean) if mean else 0.0,
        samples_ms=tuple(values.tolist()),
    )


@dataclass(frozen=True)
class Ratio:
    """The median of ratios taken run by run, and their 10th and 90th percentile."""

    median: float
    low: float
    high: float


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return above / below, pair by pair: both were measured in the same round."""
    values = np.asarray(above, float) / np.asarray(below, float)
    low, median, high = np.percentile(values, (SPREAD[0], 50, SPREAD[1]))
    return Ratio(float(median), float(low), float(high))


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call took."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@dataclass(frozen=True)
class WarmUp:
    """How many runs came before the measured ones, and whether they had become steady."""

    runs: int
    stable: bool


def warm_up(call: Callable[[], object]) -> WarmUp:
    """Call until two windows of three runs have medians within 5%, for 10 seconds at most."""
    times: list[float] = []
    while True:
        times.append(seconds_of(call))
        if len(times) < 2 * WINDOW:
            continue
        before, last = np.median(times[-2 * WINDOW : -WINDOW]), np.median(times[-WINDOW:])
        if abs(last - before) <= STABLE * before:
            return WarmUp(len(times), True)
        if sum(times) > WARM_UP_SECONDS:
            return WarmUp(len(times), False)


def interleaved(
    calls: Mapping[str, Callable[[int], Any]],
    rounds: int,
    after: Callable[[str, int, Any], object] = lambda name, number, found: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    pause_s: float = PAUSE_SECONDS,
) -> dict[str, list[float]]:
    """Return the seconds of every call in each of ``rounds`` rounds.

    A round calls each once, with the round's number, in an order drawn anew, so that what else
    the machine does in that time falls on all of them. ``after`` gets what a call returned, off
    the clock. Between two calls is a pause, in which the last one's threads stop spinning; calls
    that leave no threads behind need none.
    """
    order = list(calls)
    draw = np.random.default_rng(SEED)
    times: dict[str, list[float]] = {name: [] for name in order}
    for number in range(rounds):
        for index in draw.permutation(len(order)):
            name = order[index]
            time.sleep(pause_s)
            started = time.perf_counter()
            found = calls[name](number)
            times[name].append(time.perf_counter() - started)
            after(name, number, found)
        progress(number + 1, rounds)
    return times
