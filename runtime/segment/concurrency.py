"""How many workers share the cores, and how many images a call of the engine has.

On a CPU every worker carries an image from file to file on one core, and an engine of one thread
is called by all of them: no core waits for another stage, and none is wanted twice. On a GPU there
are workers for its slots as well.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import Pixels, Submitting, available_cores

BATCHES = (1, 2, 4, 8)
ROUNDS = 3
LONGEST_S = 2.0
"""About how long a measurement may take."""
WORTH = 1.1
"""A larger batch is taken when an image costs less than with the smaller one by this factor."""
FEW = 64
"""With fewer images than this a measurement costs more than it brings."""


@dataclass(frozen=True)
class WorkPlan:
    """``workers`` carry images, ``batch`` images share a call, the engine has ``threads``.

    ``measured_ms``: milliseconds of the engine an image, by batch, where that was measured.
    ``actors``: so many processes of a Ray cluster have such workers each; 0 without one.
    """

    workers: int
    batch: int = 1
    threads: int = 1
    measured_ms: dict[str, float] = field(default_factory=dict)
    actors: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def engine_threads(threads: int, items: int) -> int:
    """Return the threads of an engine on a CPU: one where there are images for all cores.

    ``threads`` is what the user asked for, 0 for nothing.
    """
    if threads:
        return threads
    return 1 if items >= available_cores() else available_cores()


@dataclass(frozen=True)
class Wish:
    """What a user asks for: 0 ``workers`` or ``batch`` leave it to us."""

    workers: int = 0
    batch: int = 0
    threads: int = 1


def plan_for(
    cascade: Cascade, wish: Wish, items: int, cores: int, sample: Pixels | None = None
) -> WorkPlan:
    """Return the plan for so many items on so many cores.

    ``sample`` is one of the images; without it, or with a few items, no batch is measured.
    """
    measured: dict[str, float] = {}
    if not wish.batch and sample is not None and items >= FEW:
        measured = _measure(cascade, sample)
    batch = wish.batch or min(_best(measured), wish.workers or max(BATCHES))
    beside = cascade.beside + 1 if isinstance(cascade.engine, Submitting) else 0
    calls = beside or max(1, cores // wish.threads)
    usual = calls * batch + (cores if beside else 0)
    workers = wish.workers or max(1, min(usual, items))
    return WorkPlan(workers, batch, wish.threads, measured)


def _measure(cascade: Cascade, image: Pixels) -> dict[str, float]:
    """Return the engine's milliseconds an image by batch size, the least of some rounds.

    The batches take turns, so that a slow moment of the machine is not one batch's alone.
    """
    started = time.perf_counter()
    cascade(image)
    allowed = LONGEST_S / (time.perf_counter() - started) / ROUNDS
    batches = [1, *(batch for batch in BATCHES[1:] if 2 * batch <= allowed)]
    times: dict[int, list[float]] = {batch: [] for batch in batches}
    for _ in range(ROUNDS):
        for batch in batches:
            started = time.perf_counter()
            cascade.batch([image] * batch)
            times[batch].append(1000 * (time.perf_counter() - started) / batch)
    return {str(batch): round(min(found), 3) for batch, found in times.items()}


def _best(measured: dict[str, float]) -> int:
    """Return the batch that pays: the larger one only where it is clearly cheaper."""
    best = 1
    for batch in BATCHES[1:]:
        if str(batch) in measured and measured[str(batch)] * WORTH < measured[str(best)]:
            best = batch
    return best
