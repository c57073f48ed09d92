"""Images per second from arrays to masks with all cores busy, next to the bare engine's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import numpy as np

from foveate.benchmarks.measure.baseline import BaselineCall, WithBaseline, ready
from foveate.benchmarks.measure.timing import interleaved, ratio
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade

PAIRS = 5
"""Windows of each side in a cell of the grid."""
Worker = Callable[[int], int]
T = TypeVar("T")


@dataclass(frozen=True)
class WorkerPool:
    """As many cascades and bare engines as there are workers, all with the same threads."""

    threads: int
    cascades: tuple[Cascade, ...]
    baseline: tuple[BaselineCall, ...]


@contextmanager
def open_workers(own: WithBaseline, workers: int, cores: int) -> Iterator[WorkerPool]:
    """Give the pool of a number of workers, who share the cores; one thread each at least."""
    threads = max(1, cores // workers)
    with ExitStack() as stack:
        cascades = [stack.enter_context(own.cascade(threads)) for _ in range(workers)]
        bare = [stack.enter_context(own.baseline(threads)) for _ in range(workers)]
        yield WorkerPool(threads, tuple(cascades), tuple(bare))


def grid(
    own: WithBaseline,
    images: Sequence[Pixels],
    batches: Sequence[int],
    workers: Sequence[int],
    cores: int,
    seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return a row for every batch size and number of workers, as JSON values.

    Each worker has a cascade and a Python thread of its own and runs batches of the images, all
    of one shape. A cell measures for about ``seconds``, in windows, ours and the bare engine's
    alternating in the same threads; before that each side warms up for one window. ``share``
    compares the windows of one round.
    """
    rows = []
    for count in workers:
        with open_workers(own, count, cores) as pool:
            for batch in batches:
                rates = _cell_rates(pool, images, batch, seconds)
                rows.append(
                    {
                        "variant": own.name,
                        "batch": batch,
                        "workers": count,
                        "threads": pool.threads,
                        "images_per_second": float(np.median(rates["ours"])),
                        "raw_images_per_second": float(np.median(rates["raw"])),
                        "share": asdict(ratio(rates["ours"], rates["raw"])),
                    }
                )
                progress(len(rows), len(workers) * len(batches))
    return rows


def best_cell(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row in which the bare engine is fastest."""
    return max(rows, key=lambda row: float(row["raw_images_per_second"]))


def _cell_rates(
    pool: WorkerPool, images: Sequence[Pixels], batch: int, seconds: float
) -> dict[str, list[float]]:
    """Return images per second of both sides, window by window."""
    sides = {"raw": raw_workers(pool, images, batch), "ours": _our_workers(pool, images, batch)}
    window = seconds / (2 * PAIRS)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for workers in sides.values():
        saturated_rate(workers, window)

    def measure(name: str, number: int) -> None:
        rates[name].append(saturated_rate(sides[name], window))

    interleaved({name: partial(measure, name) for name in sides}, PAIRS)
    return rates


def _our_workers(pool: WorkerPool, images: Sequence[Pixels], batch: int) -> list[Worker]:
    """Return workers that have a batch of arrays segmented by their own cascade."""
    batches = _batches(images, batch)

    def work(cascade: Cascade, offset: int, number: int) -> int:
        return len(cascade.batch(batches[(number + offset) % len(batches)]))

    return [partial(work, cascade, offset) for offset, cascade in enumerate(pool.cascades)]


def raw_workers(pool: WorkerPool, images: Sequence[Pixels], batch: int) -> list[Worker]:
    """Return workers that give their own bare engine batches that lie ready as its input."""
    kind = pool.cascades[0].spec.input_kind
    feeds = [ready(part, kind) for part in _batches(images, batch)]

    def work(bare: BaselineCall, offset: int, number: int) -> int:
        bare(feeds[(number + offset) % len(feeds)])
        return batch

    return [partial(work, bare, offset) for offset, bare in enumerate(pool.baseline)]


def _batches(images: Sequence[Pixels], batch: int) -> list[list[Pixels]]:
    """Return batches that hold every image at least once, starting over where they run out."""
    starts = range(0, len(images), batch)
    return [[images[(start + i) % len(images)] for i in range(batch)] for start in starts]


def saturated_rate(workers: Sequence[Callable[[int], int]], seconds: float) -> float:
    """Return images per second of workers that run side by side, each in its own thread.

    A worker is called with 0, 1, 2, ... until ``seconds`` have passed, at least once, and returns
    how many images it completed. The clock stops when the last one has.
    """
    ready = Barrier(len(workers) + 1)

    def work(worker: Callable[[int], int]) -> int:
        ready.wait()
        stop, images, number = time.perf_counter() + seconds, 0, 0
        while number == 0 or time.perf_counter() < stop:
            images += worker(number)
            number += 1
        return images

    with ThreadPoolExecutor(len(workers), "foveate-worker") as pool:
        jobs = [pool.submit(work, worker) for worker in workers]
        ready.wait()
        started = time.perf_counter()
        images = sum(job.result() for job in jobs)
        return images / (time.perf_counter() - started)


def pooled_rate(task: Callable[[T], object], jobs: Sequence[T], cores: int) -> float:
    """Return jobs per second when ``cores`` threads do them, one call a job."""
    with ThreadPoolExecutor(cores, "foveate-worker") as pool:
        started = time.perf_counter()
        for _ in pool.map(task, jobs):
            pass
        return len(jobs) / (time.perf_counter() - started)
