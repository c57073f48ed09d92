"""How much gets done when every core is kept busy: images per second of threads side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")


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
