"""Keep what image libraries and ONNX Runtime write to standard error from the user's terminal.

What goes wrong with a file or a graph is said once, by foveate, with the name of the file. OpenCV
and Pillow's libtiff can be told to be silent. OpenCV's libpng cannot: it writes to file descriptor
2, which is a pipe while a command runs; every line but those of these libraries goes on to standard
error.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2
from PIL import _imaging

from foveate.runtime.cli.streams import unfailing

_DROPPED = re.compile(rb"libpng (?:warning|error): |.{0,80}\[[VIWEF]:onnxruntime:|\x1b\[m$")
_LAST_WORDS_S = 1.0

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints its errors


@contextmanager
def library_messages_dropped() -> Iterator[None]:
    """Drop the lines of these libraries; foveate's own do not pass the filter."""
    cv2.utils.logging.setLogLevel(0)
    with suppress(AttributeError, OSError):  # where libtiff is part of Pillow's own library
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    sys.stderr.flush()
    terminal = os.dup(2)
    outlet, inlet = os.pipe()
    os.dup2(inlet, 2)
    os.close(inlet)
    reader = threading.Thread(target=_pass_on, args=(outlet, terminal), daemon=True)
    reader.start()
    crashes_told = faulthandler.is_enabled()
    if not crashes_told:  # the pipe dies with the process
        faulthandler.enable(terminal)
    try:
        with _own_lines_to(terminal):
            yield
    finally:
        if not crashes_told:
            faulthandler.disable()
        os.dup2(terminal, 2)
        reader.join(_LAST_WORDS_S)  # a child process may keep the pipe open
        if not reader.is_alive():
            os.close(outlet)
            os.close(terminal)


@contextmanager
def _own_lines_to(terminal: int) -> Iterator[None]:
    """Write Python's standard error past the filter; progress needs a terminal."""
    before = sys.stderr
    try:
        ours = before.fileno() == 2
    except (OSError, ValueError):
        ours = False
    if not ours:
        yield
        return
    sys.stderr, _ = unfailing(terminal, before)
    try:
        yield
    finally:
        sys.stderr = before


def _pass_on(outlet: int, terminal: int) -> None:
    """Copy whole lines from a pipe, but for those of the libraries, until its last writer ends."""
    rest = b""
    while block := os.read(outlet, 1 << 16):
        *lines, rest = (rest + block).split(b"\n")
        _write(terminal, b"".join(line + b"\n" for line in lines if not _DROPPED.match(line)))
    if not _DROPPED.match(rest):
        _write(terminal, rest)


def _write(terminal: int, data: bytes) -> None:
    with suppress(OSError):  # a terminal that is closed takes nothing; the command goes on
        while data:
            data = data[os.write(terminal, data) :]
