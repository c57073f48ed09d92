"""Time the candidates in a child process: an engine that crashes ends the child, not this process.

The child gets a request in JSON on its standard input, and prints the label of each candidate
before it runs it; at the end, the times in JSON. So the last line names what crashed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from foveate.runtime.auto.cpu_candidates import Candidate
from foveate.runtime.auto.timing import Timer, Times, time_candidates
from foveate.runtime.bundle.bundle import Bundle, open_bundle

TIMEOUT_S = 300.0
"""Seconds after which a child is ended; timing takes a few."""
CRASHES = {"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP"}
"""The signals of crashes. Others, as of a system without memory, say nothing of the engine."""
WINDOWS_CRASH = 0xC0000000
"""Exit codes of Windows from here on are of crashes."""
CHILD = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from foveate.runtime.auto.timing_child import child; child()"
)
"""The child imports what this process would; its own path would begin with the current folder."""


def idle_timer() -> Timer | None:
    """Return the timer, None while this machine is busy.

    Times measured then would be stored, and reflect the load rather than the engines.
    """
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)
    return None if busy else time_in_child


def time_in_child(bundle: Bundle, candidates: Sequence[Candidate], threads: int) -> Times:
    """Return the times of ``time_candidates``, and which candidates crashed.

    After a crash the others are timed in a new child. Where none can be started, as in a frozen
    application, they are timed in this process.
    """
    left, failed, crashed = list(candidates), dict[str, str](), dict[str, str]()
    while left:
        lines, how, is_crash = _run_child(bundle, left, threads)
        labels = {item.label for item in left}
        said = [line for line in lines if line in labels or line.startswith("{")]
        if not said:
            times = time_candidates(bundle, left, threads)
        elif said[-1].startswith("{"):
            times = Times(**json.loads(said[-1]))
        else:
            (crashed if is_crash else failed)[said[-1]] = how
            left = [item for item in left if item.label != said[-1]]
            continue
        return replace(times, failed={**times.failed, **failed}, crashed=crashed)
    return Times({}, failed, crashed=crashed)


def _run_child(
    bundle: Bundle, candidates: Sequence[Candidate], threads: int
) -> tuple[list[str], str, bool]:
    """Return the lines that a child printed, how it ended in words, and whether that is a crash.

    No lines: it could not be started.
    """
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return [], "", False
    request = {
        "bundle": os.fspath(bundle.path),
        "manifest_sha256": bundle.manifest["manifest_sha256"],
        "candidates": [asdict(item) for item in candidates],
        "threads": threads,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *sys.path],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )
    except subprocess.TimeoutExpired as error:
        return _lines(error.stdout), f"did not finish within {TIMEOUT_S:.0f} s", True
    except OSError:
        return [], "", False
    return _lines(done.stdout), *_ending(done.returncode)


def _lines(output: bytes | None) -> list[str]:
    return (output or b"").decode(errors="replace").splitlines()


def _ending(code: int) -> tuple[str, bool]:
    """Return how a process ended in words, of its return code, and whether that is a crash."""
    if code >= WINDOWS_CRASH:
        return f"crashed with exit code 0x{code:X}", True
    if code >= 0:
        return f"ended its process with exit code {code}", False
    name = "no name"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    ended = "crashed" if name in CRASHES else "was ended"
    return f"{ended} with signal {-code} ({name})", name in CRASHES


def child() -> None:
    """Time what standard input asks for; the child's side."""
    with suppress(ImportError):  # on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print
        bundle = open_bundle(Path(request["bundle"]))
        if bundle.manifest["manifest_sha256"] != request["manifest_sha256"]:
            return
        candidates = [Candidate(**item) for item in request["candidates"]]

        def say(line: str) -> None:
            print(line, file=answers, flush=True)

        times = time_candidates(bundle, candidates, request["threads"], say)
        say(json.dumps(asdict(times)))
