"""What other processes leave of this machine's cores."""

from __future__ import annotations

import psutil


def busy_cores(seconds: float = 0.3) -> float:
    """Return how many cores others keep busy while this process waits."""
    return float(psutil.cpu_percent(interval=seconds)) / 100 * (psutil.cpu_count() or 1)


def busy_note(threads: int) -> str:
    """Return what to do where ``threads`` do not find that many free cores; "" where they do."""
    cores, busy = psutil.cpu_count() or 1, busy_cores()
    if busy + threads <= cores + 0.5:
        return ""
    free = max(1, round(cores - busy))
    fewer = f"; --threads {free} may be faster than {threads}" if free < threads else ""
    return f"Other processes keep {busy:.1f} of {cores} cores busy: training is slowed{fewer}."
