"""The journal of a run: ``results.jsonl`` and ``failures.jsonl`` in the output folder.

A line of ``results.jsonl`` is written with one system call after its files have their final names.
So a killed process leaves at most files without a line or a torn last line; both are redone.
Nothing is forced to disk: what a power cut loses is found by the sha256 in the line and redone by
``--resume``.
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
from foveate.runtime.closeable import Closeable
from foveate.runtime.errors import BundleError, OutputError, SettingsError
from foveate.runtime.json_files import check_shape, read_json

RESULTS, FAILURES, JOB = "results.jsonl", "failures.jsonl", "job.json"
JOB_SHAPE = {
    "bundle": str, "engine": str, "precision": str, "outputs": dict, "plan": {"batch": int},
}  # fmt: skip
"""The fields of ``job.json``."""
Line = dict[str, Any]
CHECK_S = 1.0
"""How often to check, while lines are written, that the file still has its name."""


@dataclass(frozen=True)
class Journal:
    """The journal of an output folder. ``part`` names a shard; empty without shards."""

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
        """Start a new journal; the results of an earlier run stay as ``results.jsonl.old``."""
        if self.results.exists():
            self.results.replace(self.results.with_suffix(".jsonl.old"))
        write_atomically(self.results, b"")
        self.failures.unlink(missing_ok=True)
        text = json.dumps({**job, "plan": plan}, indent=1) + "\n"
        write_atomically(self.job, text.encode())

    def check_split(self) -> None:
        """Raise SettingsError if the folder has the journal of a run split in another way."""
        for path in sorted(self.out.glob("job*.json")):
            if _split(path.stem) != _split(self.job.stem):
                raise SettingsError(
                    f"{path}: is of a run {_split(path.stem)}, and this one is "
                    f"{_split(self.job.stem)}; choose another folder"
                )

    def earlier_job(self) -> Line | None:
        """Return the job of the run to resume; None if there was none."""
        if not self.job.exists():
            return None
        try:
            job = read_json(self.job, "the job of an earlier run of foveate segment")
            check_shape(self.job, job, JOB_SHAPE)
        except BundleError as error:
            raise SettingsError(f"{error}. Leave --resume out to start afresh") from None
        return job

    def lines(self) -> Iterator[Line]:
        """Yield the complete lines of the results."""
        return (line for line in _lines(self.results) if isinstance(line.get("page"), int))

    def failed(self) -> Iterator[Line]:
        """Yield the complete lines of the failures."""
        return _lines(self.failures)

    def replace(self, lines: list[Line]) -> None:
        """Replace the results by ``lines``; the failures are removed."""
        text = "".join(as_line(line) for line in lines)
        write_atomically(self.results, text.encode())
        self.failures.unlink(missing_ok=True)


class Writer(Closeable):
    """Append lines to a file, which the first line creates where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._checked = 0.0

    def add(self, line: Mapping[str, Any]) -> None:
        """Write a line; OSError names the file, OutputError if it was removed."""
        data = as_line(line).encode()
        try:
            if self._handle < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self._path, flags, 0o666)  # less the umask
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
        """Raise OutputError if the open file no longer has its name."""
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


def _split(stem: str) -> str:
    """Return how the run of ``job.2-of-8`` was split, in words."""
    count = stem.rpartition("-of-")[2] if "-of-" in stem else ""
    return f"in {count} shards" if count else "without --shard"


def _gone(path: Path) -> OutputError:
    return OutputError(
        f"{path}: was removed, renamed or replaced during the run, which ends here. Leave --out "
        "alone while a run writes there, and start it again"
    )


def _lines(path: Path) -> Iterator[Line]:
    """Yield the complete lines of a file, none where there is no file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and line.endswith(b"\n"):
                yield found


def as_line(values: Mapping[str, Any]) -> str:
    """Return JSON values as a line in ASCII: file names may hold bytes that are not UTF-8."""
    return json.dumps(values, ensure_ascii=True) + "\n"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):  # a name with a NUL names no file
        return ""
