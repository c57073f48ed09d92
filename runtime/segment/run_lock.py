"""Lock an output folder for one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from foveate.runtime.errors import SettingsError

NAME = ".foveate{part}.lock"
PROBE_S = 1.0
"""Two shards starting together probe the same lock; the second waits this long for the first."""


@contextmanager
def locked(out: Path, part: str = "", wait_s: float = 0.0) -> Iterator[None]:
    """Lock the folder for this run; SettingsError if another run holds it after ``wait_s``.

    Runs that each have a ``part`` share a folder; a run without one needs it alone. The lock ends
    with its process and those that it forked.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _held(out, NAME.format(part=part), wait_s):
        whole, parts = NAME.format(part=""), NAME.format(part=".*")
        others = [whole] if part else [path.name for path in out.glob(parts)]
        for name in others:
            with _held(out, name, PROBE_S):
                pass
        yield


@contextmanager
def _held(out: Path, name: str, wait_s: float) -> Iterator[None]:
    lock = FileLock(out / name)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise SettingsError(
            f"another run is writing into {out}; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
