"""Keep a command at work where its standard streams are closed, full or of an old encoding."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Unfailing(io.FileIO):
    """A descriptor that takes everything: what it cannot write is dropped, and the error kept."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.error = error
            return memoryview(data).nbytes


def unfailing(handle: int, like: TextIO) -> tuple[TextIO, _Unfailing]:
    """Return a stream to a descriptor that raises nothing, in the encoding of another, and its end.

    A character that the encoding lacks is written as its escape sequence.
    """
    raw = _Unfailing(handle)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, like.encoding, "backslashreplace", line_buffering=True), raw


@contextmanager
def standard_streams() -> Iterator[_Unfailing | None]:
    """Make standard output and error unfailing within the context; yield the end of the output.

    Closed streams are opened on nothing first: the next file would get a descriptor that libraries
    print to. Streams that are not the process's own stay as they are, and None is yielded.
    """
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:  # the lowest number that is free is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        yield None
        return
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as closed:
        sys.stdout, output = unfailing(1, before[0] or closed)
        sys.stderr, _ = unfailing(2, before[1] or closed)
        try:
            yield output
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def lost_output(output: _Unfailing | None) -> str:
    """Return why some of standard output was not written; "" also where its reader has gone."""
    if output is None or output.error is None or output.error.errno == errno.EPIPE:
        return ""
    return str(output.error.strerror)
