"""Let Ctrl-C and SIGTERM end a run after the images in flight; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class Stop:
    """``event`` is set by the first signal; ``signal`` is its number, 0 before."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int = 0


def _interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def stopping(again: Callable[[], object] = _interrupt) -> Iterator[Stop]:
    """Give what the signals set; elsewhere than on the main thread they are left as they are.

    ``again`` is called, on the main thread, by a Ctrl-C that is not the first signal.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def take(number: int, frame: FrameType | None) -> None:
        if stop.signal and number == signal.SIGINT:
            again()
        stop.signal = number
        stop.event.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
