"""What other processes take of the cores that this process may use."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

CPU_TIMES = Path("/proc/stat")
BUSY_CORES = 0.3
"""Cores that others may hold without disturbing what is timed."""


class OtherLoad:
    """The load of other processes, from now on, on the cores that this process may use."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before = self._seconds()

    def cores(self) -> float | None:
        """Return how many cores they kept busy on average; None where the system does not say."""
        passed, now = time.monotonic() - self._started, self._seconds()
        if now is None or self._before is None or passed <= 0:
            return None
        return max(0.0, (now - self._before) / passed)

    def _seconds(self) -> float | None:
        if not hasattr(os, "sched_getaffinity"):
            return None
        busy = busy_seconds(os.sched_getaffinity(0))
        return None if busy is None else busy - time.process_time()


def busy_seconds(cores: Collection[int], times: Path = CPU_TIMES) -> float | None:
    """Return the seconds that some cores have been busy since the system started.

    None where it does not say.
    """
    ticks = 0
    try:
        for line in times.read_text(encoding="ascii").splitlines():
            name, *values = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                counts = [int(value) for value in values[:8]]
                ticks += sum(counts) - sum(counts[3:5])  # idle, and idle while a disk works
    except (OSError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else None
