"""Trainings in processes of their own, forked: they need not import anything again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from foveate.runtime.cli.progress import Bar


def start(work: Callable[[], object], **environment: str) -> BaseProcess:
    """Start ``work`` in a forked process with more variables in its environment."""

    def run() -> None:
        os.environ.update(environment)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has idle threads
        process.start()
    return process


def kill_at(moment: str, work: Callable[[], object]) -> None:
    """Run ``work`` in a process that is killed with SIGKILL when it logs the words ``moment``."""

    def run() -> None:
        log = Bar.log

        def stop(self: Bar, text: str) -> None:
            log(self, text)
            if moment in text:
                os.kill(os.getpid(), signal.SIGKILL)

        Bar.log = stop  # type: ignore[method-assign]
        work()

    process = start(run)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"it ended before {moment}"
