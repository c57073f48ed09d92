"""One run at a time in a folder of masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from foveate.runtime.errors import SettingsError

NAME = ".foveate{part}.lock"


@contextmanager
def locked(out: Path, part: str = "") -> Iterator[None]:
    """Hold the folder for this run; SettingsError when another one has it.

    A process that dies gives it back.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / NAME.format(part=part))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"another run is writing into {out}; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
