"""Keep what was made of the last files: the frames of one are read each by itself."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import BinaryIO, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Read = Callable[Concatenate[BinaryIO, P], T]


def once_per_file(files: int, alone: bool = False) -> Callable[[Read[P, T]], Read[P, T]]:
    """Decorate a function of an open file: its results for the last ``files`` are kept.

    A file is known by path, time of change and size; one in memory is read each time. ``alone``:
    threads that ask for one file wait for the first of them.
    """
    lock = threading.Lock() if alone else nullcontext()

    def decorate(read: Read[P, T]) -> Read[P, T]:
        @lru_cache(files)
        def kept(path: str, modified_ns: int, size: int, *args: P.args, **kwargs: P.kwargs) -> T:
            with open(path, "rb") as file:
                return read(file, *args, **kwargs)

        def of_file(file: BinaryIO, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if isinstance(file, io.BytesIO):
                return read(file, *args, **kwargs)
            status = os.fstat(file.fileno())
            version = os.fspath(file.name), status.st_mtime_ns, status.st_size
            with lock:
                return kept(*version, *args, **kwargs)  # type: ignore[arg-type]  # all are hashable

        return of_file

    return decorate
