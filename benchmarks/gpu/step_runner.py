"""Steps in processes of their own: what crashes, hangs or talks nonsense costs itself alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import read_json

LAST_LINES = 12
LINE = 400
"""Characters kept of a line."""
LEAST_S = 5.0
"""A step that would have less time than this is skipped."""
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Step:
    """What one process does: ``kind`` is a name of ``worker.KINDS``."""

    name: str
    kind: str
    limit_s: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of a step. ``results`` is what it had found before it ended, however it ended."""

    step: Step
    status: str
    seconds: float
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.step.name,
            "kind": self.step.kind,
            "arguments": dict(self.step.arguments),
            "required": self.step.required,
            "status": self.status,
            "seconds": round(self.seconds, 2),
            "reason": self.reason,
            "last_lines": list(self.last_lines),
            "results": dict(self.results),
        }


Say = Callable[[str], object]
Command = Callable[[Path, Path], Sequence[str]]
"""From the files of a job and of its results to the command of its process."""


def worker_command(job: Path, results: Path) -> list[str]:
    worker = "foveate.benchmarks.gpu.worker"
    return [sys.executable, "-X", "faulthandler", "-m", worker, str(job), str(results)]


@dataclass
class StepRunner:
    """Runs steps one after the other, within one budget. ``folder`` takes jobs and results."""

    folder: Path
    settings: Mapping[str, Any]
    budget_s: float
    say: Say
    command: Command = worker_command
    started: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.monotonic() - self.started)

    def run(self, step: Step) -> Outcome:
        """Return what came of a step; never raises for what the step does."""
        left = self.left_s
        if left < LEAST_S:
            reason = f"no time: {max(left, 0):.0f} s of {self.budget_s:.0f} s were left"
            self.say(f"-- {step.name}: skipped, {reason}")
            return Outcome(step, SKIPPED, 0.0, reason)
        at = self.budget_s - left
        self.say(f"-- {step.name} (after {at:.0f} s, at most {min(step.limit_s, left):.0f} s)")
        outcome = self._run(step, min(step.limit_s, left))
        why = f": {outcome.reason}" if outcome.reason else ""
        self.say(f"   {outcome.status} in {outcome.seconds:.1f} s{why}")
        return outcome

    def _run(self, step: Step, limit_s: float) -> Outcome:
        stem = step.name.replace(" ", "-").replace("/", "-")
        job, found = self.folder / f"{stem}.job.json", self.folder / f"{stem}.json"
        found.unlink(missing_ok=True)
        values = {"kind": step.kind, "arguments": step.arguments, "settings": self.settings}
        job.write_text(json.dumps(values), encoding="utf-8")
        started = time.monotonic()
        code, lines = _watched(self.command(job, found), limit_s, self.say)
        seconds = time.monotonic() - started
        results, problem = _results(found)
        reason = _reason(code, limit_s, lines) or problem
        status = FAILED if reason else PASSED
        return Outcome(step, status, seconds, reason, lines if reason else (), results)


def _watched(
    command: Sequence[str], limit_s: float, say: Say
) -> tuple[int | None, tuple[str, ...]]:
    """Return a command's exit status, None when it was ended, and its last lines.

    It is the head of a process group, all of which is ended with it.
    """
    lines: deque[str] = deque(maxlen=LAST_LINES)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True, errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines, say), daemon=True)
    reader.start()
    try:
        code: int | None = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        reader.join(2.0)
    return code, tuple(lines)


def _read(stream: IO[str], lines: deque[str], say: Say) -> None:
    """Keep and show what a process says, a piece of ``LINE`` characters at a time."""
    with stream:
        while text := stream.readline(4 * LINE):
            line = "".join(sign if sign.isprintable() else "?" for sign in text.rstrip())[:LINE]
            if line:
                lines.append(line)
                say(f"   | {line}")


def _results(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a step wrote, and what is wrong with it."""
    if not path.exists():
        return {}, "it wrote no results"
    try:
        return read_json(path, "the results of a step"), ""
    except BundleError as error:
        return {}, f"its results cannot be read: {error}"


def _reason(code: int | None, limit_s: float, lines: Sequence[str]) -> str:
    if code is None:
        return f"ended after {limit_s:.0f} s without an answer"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    if code:
        return lines[-1] if lines else f"exit status {code}, without a word"
    return ""
