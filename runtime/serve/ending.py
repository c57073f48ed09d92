"""An end that comes whatever is at work: no thread can be stopped within a decoder or an engine."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GIVEN_UP = 1
"""The exit code then."""


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """End the process, with a line on standard error, where the body takes longer."""
    timer = threading.Timer(seconds, _give_up, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(seconds: float) -> None:
    said = f"Stopped; what was still at work {seconds:g} s after the end was given up.\n"
    sys.stderr.write(said)
    sys.stderr.flush()
    os._exit(GIVEN_UP)
