"""The processes that compute training views: how many, and how they are started."""

from __future__ import annotations

import multiprocessing
import os
import sys

SHARED = "/dev/shm"
AHEAD = 2
"""Batches that a worker computes before they are asked for: the data loader's default."""


def start_method() -> str | None:
    """Return how workers are started; None as the program, or this system, has it.

    A fork shares the images in memory; started otherwise, every worker has a copy of them. Python
    3.14 forks no longer unless told to. Elsewhere than on Linux a fork is unsafe.
    """
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if chosen is None and sys.platform == "linux" else None


def worker_count(workers: int, batch_bytes: int, folder: str = SHARED) -> tuple[int, str]:
    """Return ``workers``, or 0 where shared memory cannot hold their batches, and what to do then.

    ``folder`` is where the system has its shared memory, which containers limit to 64 MB.
    """
    needed = batch_bytes * (workers * AHEAD + 2)  # and one in use, one being written
    if not workers or sys.platform != "linux" or (free := _free_bytes(folder)) >= needed:
        return workers, ""
    return 0, (
        f"Shared memory ({folder}) has {free / 1e6:.1f} MB free and the batches of num_workers="
        f"{workers} take {needed / 1e6:.1f} MB: the training process computes the views itself, "
        "which is slower. Give the container more, for example docker run --shm-size 1g"
    )


def _free_bytes(folder: str) -> int:
    """Return the bytes that a process may write into a folder, 0 where it may not."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize if os.access(folder, os.W_OK) else 0
