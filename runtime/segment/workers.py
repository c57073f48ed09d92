"""Threads that each take an item, process it completely, and take the next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Given = TypeVar("Given")
Done = TypeVar("Done")
WAKE_S = 0.2
"""How often the main thread wakes up to handle signals."""


@dataclass(frozen=True)
class _Fault:
    """An exception that ended a worker; not a failure of one item."""

    error: BaseException


class WorkerPool(Generic[Given, Done]):
    """Apply ``work`` to every item on ``workers`` threads and yield each result as it comes.

    ``stop`` ends it early: items in flight are finished, no more are taken. So does an exception of
    ``work``, which is raised once all workers have ended. Only KeyboardInterrupt does not wait.
    """

    def __init__(self, work: Callable[[Given], Done], workers: int, stop: threading.Event) -> None:
        self._work, self._workers, self._stop = work, workers, stop
        self._lock = threading.Lock()
        self._done: queue.Queue[Done | _Fault | None] = queue.Queue()

    def run(self, items: Iterable[Given]) -> Generator[Done, None, None]:
        """Yield the result of every item, in order of completion."""
        source = iter(items)
        threads = [
            threading.Thread(target=self._serve, args=(source,), name=f"foveate-{n}", daemon=True)
            for n in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        fault: BaseException | None = None
        working, left = len(threads), False
        try:
            while working:
                done = self._next()
                if done is None:
                    working -= 1
                elif isinstance(done, _Fault):
                    fault = fault or done.error
                else:
                    yield done
        except KeyboardInterrupt:
            left = True
            raise
        finally:
            self._stop.set()
            for thread in [] if left else threads:
                thread.join()
        if fault is not None:
            raise fault

    def _next(self) -> Done | _Fault | None:
        while True:
            try:
                return self._done.get(timeout=WAKE_S)
            except queue.Empty:
                continue

    def _serve(self, source: Iterator[Given]) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    item = next(source, None)
                if item is None:
                    return
                self._done.put(self._work(item))
        except BaseException as error:
            self._stop.set()
            self._done.put(_Fault(error))
        finally:
            self._done.put(None)
