"""The ring of slots: runs follow each other through it, and overlap on the device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from foveate.runtime.arrays import HOST, Feed, GpuArray
from foveate.runtime.closeable import CLOSED, Closeable
from foveate.runtime.engines.cuda.device import Device
from foveate.runtime.engines.tensorrt.executor import Executor
from foveate.runtime.engines.tensorrt.slot import PendingRun, Slot
from foveate.runtime.errors import EngineError


@dataclass(frozen=True)
class RingSettings:
    """How many runs are under way at a time, and how their end is waited for."""

    slots: int = 3  # one copies in, one executes, one copies out
    spin: bool = False  # a sleeping wait costs latency, a spinning one a core
    eager: bool = False  # RTX compiles a shape's kernels before its first run


LATENCY = RingSettings(slots=1, spin=True, eager=True)
"""One run at a time, answered as soon as it is over."""


class SlotRing(Closeable):
    """Runs on a device, ``slots`` of them under way at a time. Safe from several threads.

    There are no threads in it: a run's copies and its execution are put into its slot's stream,
    and streams overlap on the device. Runs take the slots in turn, so they end in order. The slot
    of the oldest run is taken for the newest; a result not fetched by then is copied
    out first, so no run waits for a caller.
    """

    def __init__(
        self, device: Device, make_executor: Callable[[], Executor], settings: RingSettings
    ) -> None:
        self._lock = threading.Lock()
        enqueueing = threading.Lock()
        self._count = 0
        self._slots: list[Slot] = []
        with ExitStack() as made, device.current():
            for _ in range(settings.slots):
                self._slots.append(Slot(device, make_executor, settings.spin, enqueueing))
                made.callback(self._slots[-1].close)
            self._made = made.pop_all()

    def __len__(self) -> int:
        """Return how many runs can be under way; 0 once closed."""
        return len(self._slots)

    def submit(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> PendingRun:
        """Start a run; waits only while all slots hold earlier runs.

        Feeds on the host are copied before it returns. An error of this run is raised by its
        result and leaves the others alone; EngineError here means that the ring is closed or the
        device gone.
        """
        with self._lock:
            if not self._slots:
                raise EngineError(CLOSED)
            slot = self._slots[self._count % len(self._slots)]
            self._count += 1
        return slot.start(feeds, outputs, into)

    def in_order(
        self, feeds: Iterable[Mapping[str, Feed]], outputs: Sequence[str]
    ) -> Iterator[PendingRun]:
        """Yield a run per feed, in order, with the next ones already in flight.

        Results that are taken as views are valid until the next run is asked for.
        """
        waiting: deque[PendingRun] = deque()
        for feed in feeds:
            waiting.append(self.submit(feed, outputs))
            if len(waiting) >= len(self):
                yield waiting.popleft()
        yield from waiting

    def close(self) -> None:
        """Wait for the runs under way and free everything; their PendingRuns keep the results."""
        with self._lock:
            self._slots = []
            self._made.close()
