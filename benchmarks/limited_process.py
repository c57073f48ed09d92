"""A process with a limit: interrupted when it runs past it, then killed with its whole group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

END_S = 2.0
"""What a process has to end in after it was interrupted at its limit."""


def run_limited(words: Sequence[str], limit_s: float) -> tuple[str, str, float]:
    """Run ``python -m WORDS``; return what it came to, what it said, and the seconds it took.

    It comes to passed, failed with its exit code, or stopped. What it leaves running is killed.
    """
    status, command = f"stopped after {limit_s:.0f} s", [sys.executable, "-m", *words]
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            status = f"failed with {code}" if code else "passed"
        except subprocess.TimeoutExpired:  # pytest writes its XML when it is interrupted
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S - 1)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that hangs in a driver stays
                process.wait(0.5)
        said.seek(0)
        text = said.read().decode(errors="replace")
        return status, text, round(time.monotonic() - began, 1)
