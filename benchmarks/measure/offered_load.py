"""Latency under a given load: requests come when they come, and wait when the cascade is busy.

An open loop with Poisson arrivals, as in MLPerf Inference's server scenario (Reddi et al. 2020):
the next request does not wait for the last answer, so queueing shows. A response is counted from
the moment its request was due, not from when it was begun ("coordinated omission" otherwise).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from foveate.benchmarks.measure.timing import SEED, distribution

FULL = 0.95
"""From this share of what can be served on, the queue grows as long as the load lasts."""


def offered_load(
    call: Callable[[int], object],
    rate: float,
    requests: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Return response and service times of ``requests`` at ``rate`` a second, served in order.

    ``utilisation`` is the share of the time in which the server was busy; ``queue_max`` the most
    requests that were due and not begun.
    """
    draw = np.random.default_rng(SEED)
    due = np.cumsum(draw.exponential(1 / rate, requests))
    responses, services, queue = [], [], 0
    start = time.perf_counter()
    for number in range(requests):
        wait = start + due[number] - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        begun = time.perf_counter()
        queue = max(queue, int(np.searchsorted(due, begun - start, "right")) - number - 1)
        call(number)
        ended = time.perf_counter()
        services.append(ended - begun)
        responses.append(ended - start - due[number])
        progress(number + 1, requests)
    elapsed = time.perf_counter() - start
    return {
        "rate": rate,
        "requests": requests,
        "response": asdict(distribution(responses)),
        "service": asdict(distribution(services)),
        "queue_max": queue,
        "utilisation": sum(services) / elapsed,
        "achieved_rate": requests / elapsed,
    }
