"""What is done, line by line: ``results.jsonl`` and ``failures.jsonl`` in the folder of the masks.

A line of ``results.jsonl`` is written after its files were renamed to their final names, with one
call of the system, so a process that is killed leaves at most files without a line, or a torn last
line; both are done again. Nothing is forced to the disk: what a killed process had written stays,
what a power cut takes is found by the sha256 in the line, and done again by ``--resume``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.closing import Closing
from foveate.runtime.errors import BundleError, OutputError, SettingsError
from foveate.runtime.json_files import check_shape, read_json

RESULTS, FAILURES, JOB = "results.jsonl", "failures.jsonl", "job.json"
JOB_SHAPE = {
    "bundle": str, "engine": str, "precision": str, "outputs": dict, "plan": {"batch": int},
}  # fmt: skip
"""What ``job.json`` holds."""
Line = dict[str, Any]
CHECK_S = 1.0
"""How often is looked whether the journal is still there, where lines are written."""


@dataclass(frozen=True)
class Journal:
    """The journal of a folder. ``part`` names the share of one shard, empty without shards."""

    out: Path
    part: str = ""

    @property
    def results(self) -> Path:
        return self._path(RESULTS)

    @property
    def failures(self) -> Path:
        return self._path(FAILURES)

    @property
    def job(self) -> Path:
        return self._path(JOB)

    def _path(self, name: str) -> Path:
        stem, suffix = name.split(".")
        return self.out / f"{stem}{self.part}.{suffix}"

    def begin(self, job: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Start afresh: what an earlier run wrote into the journal is removed."""
        for path in (self.results, self.failures):
            path.unlink(missing_ok=True)
        text = json.dumps({**job, "plan": plan}, indent=1) + "\n"
        write_atomically(self.job, lambda file: file.write(text.encode()))

    def earlier_job(self) -> Line | None:
        """Return what the run that is to be resumed was; None when there was none."""
        if not self.job.exists():
            return None
        try:
            job = read_json(self.job, "the job of an earlier run of foveate segment")
            check_shape(self.job, job, JOB_SHAPE)
        except BundleError as error:
            raise SettingsError(f"{error}. Leave --resume out to start afresh") from None
        return job

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the results that are whole."""
        try:
            data = self.results.read_bytes()
        except FileNotFoundError:
            return
        for line in data.split(b"\n")[:-1]:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and isinstance(found.get("page"), int):
                yield found

    def keep(self, lines: list[Line]) -> None:
        """Replace the results by some of their lines; the failures are forgotten."""
        text = "".join(as_line(line) for line in lines)
        write_atomically(self.results, lambda file: file.write(text.encode()))
        self.failures.unlink(missing_ok=True)


class Writer(Closing):
    """Appends lines to a file, which is made by the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._checked = 0.0

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line; OSError names the file, OutputError says that its folder is gone."""
        data = as_line(line).encode()
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self._path, flags, 0o644)
            written = os.write(self._handle, data)
            if time.monotonic() - self._checked >= CHECK_S:
                self.check()
        except FileNotFoundError:
            raise _gone(self._path) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def check(self) -> None:
        """Raise OutputError where the file that is written to is no longer the one of that name."""
        self._checked = time.monotonic()
        if self._handle < 0:
            return
        try:
            same = os.path.samestat(os.fstat(self._handle), os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise _gone(self._path)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _gone(path: Path) -> OutputError:
    return OutputError(
        f"{path}: was removed, renamed or replaced during the run, which ends here. Leave --out "
        "alone while a run writes there, and start it again"
    )


def as_line(values: Mapping[str, Any]) -> str:
    """Return JSON values as a line; names of files may hold bytes that are no UTF-8."""
    return json.dumps(values, ensure_ascii=True) + "\n"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, empty when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):  # a name with a NUL in it is no file's
        return ""
