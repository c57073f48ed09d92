"""What TensorRT says while it builds: its log, its progress, and a way to stop it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int], object]
SHOWN_DEPTH = 3
"""Phases nest; deeper ones come and go too fast to read."""


def logger(trt: Any) -> Any:
    """Return a TensorRT logger: ``lines`` are those of INFO and above, ``errors`` the errors."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the module is known when it runs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity != trt.ILogger.VERBOSE:
                self.lines.append(f"{severity.name}: {message}")
            if severity.name in ("ERROR", "INTERNAL_ERROR"):
                self.errors.append(message)

    return Logger()


def monitor(trt: Any, progress: Progress, stop: threading.Event) -> Any:
    """Return a TensorRT progress monitor that shows phases and ends the build on ``stop``."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.steps[name] = steps

        def step_complete(self, name: str, step: int) -> bool:
            if len(self.steps) <= SHOWN_DEPTH and name in self.steps:
                progress(name, step + 1, self.steps[name])
            return not stop.is_set()

        def phase_finish(self, name: str) -> None:
            self.steps.pop(name, None)

    return Monitor()


@contextmanager
def interruptible(stop: threading.Event) -> Iterator[None]:
    """Turn Ctrl-C into ``stop`` while TensorRT runs, and raise KeyboardInterrupt afterwards.

    An exception raised inside one of TensorRT's calls back would end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if stop.is_set():
            raise KeyboardInterrupt
