"""Watch a folder for images and yield each one once it is complete.

The folder is polled. A file counts as complete once its size and modification time have not changed
for a quiet period. If it cannot be read then, it may still be growing: it is tried again after
longer quiet periods before it fails. A file that changes later is a new image.
"""

from __future__ import annotations

import os
import stat
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from foveate.runtime.errors import SettingsError, UnavailableWarning
from foveate.runtime.io.inputs import Item, check_apart, is_kept_free, items_of
from foveate.runtime.io.paths import InputFile, images_in
from foveate.runtime.segment.item_worker import Failure, Written
from foveate.runtime.spec import GREY

QUIET_S = (2.0, 10.0, 30.0)
"""Seconds without change before the first, second and last attempt at a file."""
POLL_S = 0.5
"""Seconds between polls of the folder, at least."""
PAUSE_FACTOR = 20
"""A poll is followed by a pause of this many times its duration: at most 5% of one core."""

INCOMPLETE = f"was not complete: it has to stay unchanged for {QUIET_S[0]:g} s"
Mark = tuple[int, int]
DANGLING = -1
"""The size recorded for a dangling link."""


@dataclass(frozen=True)
class WatchSettings:
    """The folder to watch, with subfolders if ``recursive``; the output folder is skipped."""

    folder: Path
    out: Path
    recursive: bool = False
    channels: str = GREY

    def check(self) -> None:
        """Raise SettingsError if it is not a folder, or masks would be written into it."""
        if not self.folder.is_dir():
            raise SettingsError(f"--watch {self.folder} is not an existing folder")
        check_apart(self.folder, self.out)


@dataclass
class _Seen:
    """A file as last seen: (size, modification time), and since when."""

    mark: Mark
    since: float
    tries: int = 0
    waiting: bool = True
    reason: str = ""
    """Why the last attempt failed."""
    again: set[int] = field(default_factory=set)
    """Pages that failed and will be tried again; empty for all pages."""


class Watch:
    """Iterate over the items of a watched folder until ``stop``; the length counts those yielded.

    ``done`` tells whether an earlier run did an item as its file is now; such items are skipped.
    One thread at a time may iterate; failures may be reported from another.
    """

    def __init__(self, settings: WatchSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self.done: Callable[[Item], bool] = lambda item: False
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._ready: deque[Item] = deque()
        self._unavailable: dict[str, str] = {}
        self._device = _device(settings.folder)
        self._given = 0

    def __len__(self) -> int:
        return self._given

    def __iter__(self) -> Iterator[Item]:
        ready = self._ready
        while not self._stop.is_set():
            if not ready:
                started = time.monotonic()
                ready.extend(self._poll(started))
                pause = max(POLL_S, PAUSE_FACTOR * (time.monotonic() - started))
            if ready:
                yield ready.popleft()
            else:
                self._stop.wait(pause)

    def outcomes(
        self, found: Generator[Written | Failure, None, None]
    ) -> Generator[Written | Failure, None, None]:
        """Yield the outcomes, except failures that are tried again or whose file is gone."""
        try:
            for outcome in found:
                if not (isinstance(outcome, Failure) and self._is_retried(outcome)):
                    yield outcome
        finally:
            found.close()

    def unfinished(self) -> list[Failure]:
        """Return what was seen and has neither a mask nor failed for good, each with the reason."""
        with self._lock:
            found = dict(self._unavailable)
            for path, seen in self._seen.items():
                if seen.waiting:
                    found[path] = seen.reason or INCOMPLETE
        turn = (Failure(str(item.path), "its turn had not come", item.page) for item in self._ready)
        return [*(Failure(path, reason) for path, reason in found.items()), *turn]

    def _poll(self, now: float) -> list[Item]:
        """Return the items of the files that have become complete."""
        settings, ready = self._settings, []
        try:
            found = list(images_in(str(settings.folder), settings.out, settings.recursive))
        except OSError as error:  # a disk that is offline comes back; what is known about it stays
            self._warn_unavailable({str(settings.folder): error.strerror or str(error)})
            return []
        marks = {str(entry.path): _mark(entry.path) for entry in found}
        odd = [path for path, mark in marks.items() if mark is None or mark[0] == DANGLING]
        unavailable = {path: reason for path in odd if (reason := _reason(path))}
        self._warn_unavailable(unavailable)
        with self._lock:
            for entry in found:
                mark = None if is_kept_free(entry.folder) else marks[str(entry.path)]
                if mark is not None and self._is_complete(str(entry.path), mark, now):
                    ready.append(entry)
            self._forget(found, unavailable)
        items = [item for entry in ready for item in self._items(entry)]
        self._given += len(items)
        return items

    def _is_complete(self, path: str, mark: Mark, now: float) -> bool:
        """Return whether to yield a file now, and note that it was yielded."""
        seen = self._seen.get(path)
        if seen is None or seen.mark != mark:
            self._seen[path] = _Seen(mark, now)
            return False
        if not seen.waiting or now - seen.since < QUIET_S[seen.tries]:
            return False
        seen.waiting, seen.tries = False, seen.tries + 1
        return True

    def _items(self, entry: InputFile) -> list[Item]:
        """Return the pages of a file to segment."""
        with self._lock:
            seen = self._seen[str(entry.path)]
            pages, seen.again = seen.again, set()
        items = items_of(entry, self._settings.channels)
        return [i for i in items if (i.page in pages if pages else not self.done(i))]

    def _is_retried(self, failure: Failure) -> bool:
        """Return whether a failure does not count: its file is gone, changed or tried again."""
        mark = _mark(Path(failure.input))
        with self._lock:
            seen = self._seen.get(failure.input)
            if mark is None or seen is None or mark != seen.mark:
                self._given -= 1
                return True
            if seen.tries == len(QUIET_S):
                return False
            self._given -= 1
            seen.waiting, seen.reason = True, f"{failure.reason}; it would have been tried again"
            seen.again.add(failure.page)
            return True

    def _warn_unavailable(self, unavailable: Mapping[str, str]) -> None:
        """Warn once about each path that cannot be examined, until it is back."""
        for path in unavailable.keys() - self._unavailable:
            text = (
                f"{path}: {unavailable[path]}. Waiting for it; other images are segmented meanwhile"
            )
            warnings.warn(UnavailableWarning(text), stacklevel=2)
        self._unavailable = dict(unavailable)

    def _forget(self, found: Sequence[InputFile], unavailable: Iterable[str]) -> None:
        """Forget files that are gone, so that memory stays proportional to the folder.

        Files of a disk or folder that is unavailable are kept: they are not new when it is back.
        """
        if _device(self._settings.folder) != self._device:
            return
        below = tuple(path + os.sep for path in unavailable)
        for path in self._seen.keys() - {str(entry.path) for entry in found}:
            if not path.startswith(below):
                del self._seen[path]


def _reason(path: str) -> str:
    """Return why a link is dangling or a folder cannot be listed, "" if neither is."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            os.scandir(path).close()
    except OSError as error:
        return (error.strerror or str(error)) if os.path.lexists(path) else ""
    return ""


def _device(folder: Path) -> int:
    """Return the device number of a folder, -1 if it does not exist."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return -1


def _mark(path: Path) -> Mark | None:
    """Return size and modification time of a regular file, None if there is none.

    A dangling link gives ``DANGLING`` and its own time: it fails like an unreadable file.
    """
    try:
        found = os.stat(path)
    except OSError:
        with suppress(OSError):
            link = os.lstat(path)
            return (DANGLING, link.st_mtime_ns) if stat.S_ISLNK(link.st_mode) else None
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
