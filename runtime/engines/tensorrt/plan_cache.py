"""The cache of TensorRT plans: a folder of plans, each with its record.

``KEY.plan`` is the plan, ``KEY.json`` its record, ``KEY.log`` the log of its build. A plan is valid
only with its record, which is written last, and while it has the record's sha256: a plan may run
its own code, so only plans that this cache wrote are loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from foveate.runtime.atomic_files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, write_atomically
from foveate.runtime.cache import PLANS, cache_folder
from foveate.runtime.engines.tensorrt.plan_record import (
    PlanRecord,
    Recipe,
    read_record,
    this_platform,
)
from foveate.runtime.errors import BundleError, EngineError

LOCK = "cache.lock"
KEY_FILE = re.compile(r"([0-9a-f]{64})\.[A-Za-z.-]{1,40}")
Builder = Callable[[Path], bytes]
"""Builds a plan and returns its bytes; writes its log to the given path."""


@dataclass(frozen=True)
class Entry:
    """A key of the cache with its record, or why there is no valid one."""

    key: str
    record: PlanRecord | None
    problem: str


@dataclass(frozen=True)
class PlanCache:
    """A folder of plans. Writers lock it, so two processes build a plan only once."""

    folder: Path

    def path(self, key: str, suffix: str) -> Path:
        return self.folder / f"{key}{suffix}"

    def changed_ns(self) -> int:
        """Return when a file was last added to or removed from the folder, 0 without one."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def entries(self) -> list[Entry]:
        """Return the entries of the cache by key, without reading the plans."""
        return [self._entry(key) for key in self._keys()]

    def records(self) -> list[PlanRecord]:
        """Return the valid records, newest first."""
        found = [entry.record for entry in self.entries() if entry.record]
        return sorted(found, key=lambda record: record.created, reverse=True)

    def verify(self) -> list[Entry]:
        """Return the entries of the cache, each plan checked against its record."""
        found = []
        for entry in self.entries():
            try:
                if entry.record:
                    self._content(entry.record)
            except BundleError as error:
                entry = replace(entry, record=None, problem=str(error))
            found.append(entry)
        return found

    def read(self, record: PlanRecord, bundle: str) -> bytes:
        """Return a verified plan; EngineError has the command that rebuilds it."""
        try:
            return self._content(record)
        except BundleError as error:
            raise EngineError(f"{error}. Rebuild it: {record.build_line(bundle)}") from None

    def get(self, key: str) -> PlanRecord | None:
        """Return the record of a key if its plan is valid, else None."""
        entry = self._entry(key)
        try:
            if entry.record:
                self._content(entry.record)
        except BundleError:
            return None
        return entry.record

    def build_once(
        self,
        recipe: Recipe,
        bundle: str,
        precision: str,
        build: Builder,
        waiting: Callable[[], object],
    ) -> tuple[PlanRecord, bool]:
        """Return the plan's record, and whether it was built now.

        ``waiting`` is called while another process builds. A failed builder leaves its log.
        """
        with self.locked(waiting):
            found = self.get(recipe.key)
            if found and found.for_this_platform:
                return found, False
            started = time.monotonic()
            plan = build(self.path(recipe.key, ".log"))
            record = PlanRecord(
                recipe,
                bundle,
                precision,
                hashlib.sha256(plan).hexdigest(),
                len(plan),
                datetime.now(timezone.utc).isoformat(timespec="seconds"),
                round(time.monotonic() - started, 3),
                this_platform(),
            )
            self.write(record, plan)
            return record, True

    def write(self, record: PlanRecord, plan: bytes) -> None:
        """Write a plan, then its record, so that an interruption leaves no valid plan."""
        path = self.path(record.key, ".json")
        path.unlink(missing_ok=True)
        write_atomically(self.path(record.key, ".plan"), plan)
        text = json.dumps(record.as_dict(), indent=1) + "\n"
        write_atomically(path, text.encode())

    @contextmanager
    def locked(self, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the lock of the cache, which ends with its process; creates the folder."""
        from filelock import FileLock, Timeout  # 15 ms at start, rarely needed

        lock = FileLock(self.folder / LOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        except OSError as error:
            raise EngineError(
                f"{self.folder}: plans cannot be kept there: {error.strerror}. "
                "FOVEATE_CACHE=FOLDER names another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _keys(self) -> list[str]:
        try:
            names = os.listdir(self.folder)
        except OSError:  # there is none, or it is not for this user
            names = []
        found = {match.group(1) for name in names if (match := KEY_FILE.fullmatch(name))}
        return sorted(found)

    def _entry(self, key: str) -> Entry:
        path = self.path(key, ".json")
        if not path.exists():
            return Entry(key, None, "has no record: its build did not finish")
        try:
            record = read_record(path)
        except BundleError as error:
            return Entry(key, None, str(error))
        if record.key != key:
            return Entry(key, None, f"{path}: is the record of another plan, {record.key}")
        if not self.path(key, ".plan").is_file():
            return Entry(key, None, f"{self.path(key, '.plan')}: is not there")
        return Entry(key, record, "")

    def _content(self, record: PlanRecord) -> bytes:
        return sound_plan(self.path(record.key, ".plan"), record)


def sound_plan(path: Path, record: PlanRecord) -> bytes:
    """Return the bytes of a plan's file; BundleError unless they match the record."""
    try:
        if path.is_symlink():
            raise BundleError(f"{path}: is a link; expected a regular file")
        plan = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise BundleError(f"{path}: does not match its record")
    return plan


def plan_cache() -> PlanCache:
    """Return the current user's cache."""
    return PlanCache(cache_folder(PLANS))


def prune(cache: PlanCache, versions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Remove what no engine here can load; return (file name, reason) of each file.

    ``versions``: installed TensorRT versions by flavour; plans of other flavours stay.
    """
    removed = []
    with cache.locked():
        for entry in cache.verify():
            why = entry.problem or (_stale(entry.record, versions) if entry.record else "")
            if why:
                removed += [(name, why) for name in _remove(cache, f"{entry.key}.*")]
        stale = _remove(cache, f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}")
        removed += [(name, "left by an interrupted build") for name in stale]
    return removed


def export_plan(cache: PlanCache, record: PlanRecord, out: Path) -> Path:
    """Write a plan to ``out`` and its record next to it; return the record's path."""
    plan = cache.read(record, record.bundle)
    path = record_path(out)
    text = json.dumps(record.as_dict(), indent=1) + "\n"
    write_atomically(out, plan)
    write_atomically(path, text.encode())
    return path


def import_plan(cache: PlanCache, file: Path) -> PlanRecord:
    """Import a plan that ``export_plan`` wrote; BundleError if it was changed."""
    if not file.is_file():
        raise BundleError(f"{file}: no such plan; expected a file of foveate build --out")
    record = read_record(record_path(file))
    plan = sound_plan(file, record)
    with cache.locked():
        cache.write(record, plan)
    return record


def record_path(plan: Path) -> Path:
    """Return the path of the record of an exported plan."""
    return plan.with_name(f"{plan.name}.json")


def _stale(record: PlanRecord, versions: Mapping[str, str]) -> str:
    """Return why a valid plan is no longer usable; version-compatible plans stay."""
    recipe = record.recipe
    installed = versions.get(recipe.flavour, recipe.version)
    if recipe.version == installed or recipe.options.version_compatible:
        return ""
    return f"was built by {recipe.flavour} {recipe.version}; {installed} is installed"


def _remove(cache: PlanCache, pattern: str) -> list[str]:
    paths = sorted(cache.folder.glob(pattern))
    for path in paths:
        path.unlink(missing_ok=True)
    return [path.name for path in paths]
