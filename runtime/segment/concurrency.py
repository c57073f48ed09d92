"""Choose how many workers share the cores, and how many images share an engine call.

On a CPU each worker takes an image from file to file on one core, and all of them call an engine
with one thread: cores are neither idle nor oversubscribed. On a GPU there are workers for its slots
as well.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import AsyncEngine
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.inputs import Item

BATCHES = (1, 2, 4, 8)
ROUNDS = 3
LONGEST_S = 2.0
"""About how long measuring the batch sizes may take."""
MIN_GAIN = 1.1
"""A larger batch must make an image cheaper by this factor."""
PAYS = 500
"""With so many images of a size, compiling for it takes less time than it saves."""
SAMPLED = 64
"""Headers that are read to know the sizes of a folder's images."""
MOST_SIZES = 4
"""Sizes that an engine is compiled for apart; benchmarks do as segment does."""
FEW = 64
"""With fewer images than this, measuring costs more than it gains."""


@dataclass(frozen=True)
class Concurrency:
    """``workers`` threads process images, ``batch`` images share an engine call of ``threads``.

    ``measured_ms``: engine milliseconds per image by batch size, if measured. ``actors``: processes
    of a Ray cluster that each have these workers; 0 without Ray. ``sizes``: (H, W) that the engine
    was compiled for apart.
    """

    workers: int
    batch: int = 1
    threads: int = 1
    measured_ms: dict[str, float] = field(default_factory=dict)
    actors: int = 0
    sizes: Sequence[Sequence[int]] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def engine_threads(threads: int, items: int) -> int:
    """Return the threads of an engine on a CPU: one if there are images for all cores.

    ``threads`` is the user's choice, 0 for automatic.
    """
    if threads:
        return threads
    return 1 if items >= available_cores() else available_cores()


@dataclass(frozen=True)
class WorkerOptions:
    """The user's choice of workers, batch and engine threads; 0 workers or batch: automatic."""

    workers: int = 0
    batch: int = 0
    threads: int = 1


def choose_concurrency(
    cascade: Cascade, options: WorkerOptions, items: int, cores: int, sample: Pixels | None = None
) -> Concurrency:
    """Return the concurrency for ``items`` images on ``cores`` cores.

    ``sample`` is one of the images; without it, or with few items, no batch size is measured.
    """
    measured: dict[str, float] = {}
    if not options.batch and sample is not None and items >= FEW:
        measured = _measure(cascade, sample)
    batch = options.batch or min(_best(measured), options.workers or max(BATCHES))
    in_flight = cascade.max_in_flight if isinstance(cascade.engine, AsyncEngine) else 0
    calls = in_flight or max(1, cores // options.threads)
    workers = calls * batch + (cores if in_flight else 0)
    workers = options.workers or max(1, min(workers, items))
    return Concurrency(workers, batch, options.threads, measured)


def frequent_sizes(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Return (H, W) of which there are ``PAYS`` images or more, by a sample of the headers."""
    step = max(1, len(items) // SAMPLED)
    sizes: Counter[tuple[int, int]] = Counter()
    for item in items[::step]:
        with suppress(ImageError):
            header = read_header(item.path, item.page)
            sizes[header.height, header.width] += 1
    frequent = [size for size, count in sizes.most_common() if count * step >= PAYS]
    return frequent[:MOST_SIZES]


def _measure(cascade: Cascade, image: Pixels) -> dict[str, float]:
    """Return the engine's milliseconds per image by batch size, the minimum over some rounds.

    Batch sizes alternate, so that a slow moment of the machine affects all of them.
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
    """Return the best batch size: a larger one only if it is clearly cheaper."""
    best = 1
    for batch in BATCHES[1:]:
        if str(batch) in measured and measured[str(batch)] * MIN_GAIN < measured[str(best)]:
            best = batch
    return best
