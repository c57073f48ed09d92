"""The images that appear in a folder, each once it is whole.

The folder is looked at again and again. Nobody says when a file is whole, so a file is taken for
whole once its size and time of change have stayed the same for a quiet time. Where it then cannot
be read it may still be growing: it is tried again after longer quiet times, and only then has
failed. A file that changes later is a new image.
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

from foveate.runtime.errors import Away, SettingsError
from foveate.runtime.io.inputs import Item, check_apart, is_kept_free, items_of
from foveate.runtime.io.paths import Found, images_in
from foveate.runtime.segment.item_worker import Failure, Written

QUIET_S = (2.0, 10.0, 30.0)
"""Seconds without change before a file is tried for the first, second and last time."""
LOOK_S = 0.5
"""Seconds from one look at the folder to the next, at least."""
SHARE = 20
"""A look is followed by a pause of so many times its length: a twentieth of one core at most."""

Mark = tuple[int, int]
NOWHERE = -1
"""The size of what a link leads to that leads nowhere."""


@dataclass(frozen=True)
class Watching:
    """Which folder is watched, with those below it when ``recursive``; OUT is passed over."""

    folder: Path
    out: Path
    recursive: bool = False

    def check(self) -> None:
        """Raise SettingsError when there is no such folder, or masks would be written to it."""
        if not self.folder.is_dir():
            raise SettingsError(f"--watch {self.folder} is no folder; wanted one that is there")
        check_apart(self.folder, self.out)


@dataclass
class _Seen:
    """A file as it was last seen: (size, time of change), and since when."""

    mark: Mark
    since: float
    tries: int = 0
    waiting: bool = True
    again: set[int] = field(default_factory=set)
    """Pages that failed and are to be tried again; empty for all of them."""


class Watch:
    """The items of a watched folder, without end until ``stop``; its length is what there was.

    ``done`` says whether an earlier run did an item, as its file is now; those are passed over.
    Items are taken by one thread at a time, failures may come from another.
    """

    def __init__(self, watching: Watching, stop: threading.Event) -> None:
        self._watching, self._stop = watching, stop
        self.done: Callable[[Item], bool] = lambda item: False
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._away: set[str] = set()
        self._disk = _disk(watching.folder)
        self._given = 0

    def __len__(self) -> int:
        return self._given

    def __iter__(self) -> Iterator[Item]:
        ready: deque[Item] = deque()
        while not self._stop.is_set():
            if not ready:
                started = time.monotonic()
                ready.extend(self._look(started))
                pause = max(LOOK_S, SHARE * (time.monotonic() - started))
            if ready:
                yield ready.popleft()
            else:
                self._stop.wait(pause)

    def outcomes(
        self, found: Generator[Written | Failure, None, None]
    ) -> Generator[Written | Failure, None, None]:
        """Yield what came of the items, but for failures that are tried again or have no file."""
        try:
            for done in found:
                if not (isinstance(done, Failure) and self._tried_again(done)):
                    yield done
        finally:
            found.close()

    def _look(self, now: float) -> list[Item]:
        """Return the items of the files that are whole now."""
        watching, ready = self._watching, []
        try:
            found = list(images_in(str(watching.folder), watching.out, watching.recursive))
        except OSError as error:  # a disk that is away comes back, and what is known of it stays
            self._say_away({str(watching.folder): error.strerror or str(error)})
            return []
        marks = {str(entry.path): _mark(entry.path) for entry in found}
        odd = [path for path, mark in marks.items() if mark is None or mark[0] == NOWHERE]
        away = {path: reason for path in odd if (reason := _reason(path))}
        self._say_away(away)
        with self._lock:
            for entry in found:
                mark = None if is_kept_free(entry.folder) else marks[str(entry.path)]
                if mark is not None and self._is_whole(str(entry.path), mark, now):
                    ready.append(entry)
            self._forget(found, away)
        items = [item for entry in ready for item in self._items(entry)]
        self._given += len(items)
        return items

    def _is_whole(self, path: str, mark: Mark, now: float) -> bool:
        """Say whether a file is to be given out now, and note that it was."""
        seen = self._seen.get(path)
        if seen is None or seen.mark != mark:
            self._seen[path] = _Seen(mark, now)
            return False
        if not seen.waiting or now - seen.since < QUIET_S[seen.tries]:
            return False
        seen.waiting, seen.tries = False, seen.tries + 1
        return True

    def _items(self, entry: Found) -> list[Item]:
        """Return the pages of a file that are to be done."""
        with self._lock:
            seen = self._seen[str(entry.path)]
            pages, seen.again = seen.again, set()
        items = items_of(entry)
        return [i for i in items if (i.page in pages if pages else not self.done(i))]

    def _tried_again(self, failure: Failure) -> bool:
        """Say whether a failure does not count: its file is gone, changed, or tried once more."""
        mark = _mark(Path(failure.input))
        with self._lock:
            seen = self._seen.get(failure.input)
            if mark is None or seen is None or mark != seen.mark:
                self._given -= 1
                return True
            if seen.tries == len(QUIET_S):
                return False
            self._given -= 1
            seen.waiting = True
            seen.again.add(failure.page)
            return True

    def _say_away(self, away: Mapping[str, str]) -> None:
        """Warn of what cannot be looked at, once until it is back."""
        for path in away.keys() - self._away:
            text = f"{path}: {away[path]}. It is waited for; what else comes is segmented"
            warnings.warn(Away(text), stacklevel=2)
        self._away = set(away)

    def _forget(self, found: Sequence[Found], away: Iterable[str]) -> None:
        """Forget the files that are gone, so that what is known stays as small as the folder.

        Not where a disk or a folder is away for a while: its files are no new ones afterwards.
        """
        if _disk(self._watching.folder) != self._disk:
            return
        below = tuple(path + os.sep for path in away)
        for path in self._seen.keys() - {str(entry.path) for entry in found}:
            if not path.startswith(below):
                del self._seen[path]


def _reason(path: str) -> str:
    """Return why a link leads nowhere or a folder cannot be listed, "" where neither is so."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            os.scandir(path).close()
    except OSError as error:
        return (error.strerror or str(error)) if os.path.lexists(path) else ""
    return ""


def _disk(folder: Path) -> int:
    """Return which disk a folder is on, -1 where it is not there."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return -1


def _mark(path: Path) -> Mark | None:
    """Return size and time of change of a plain file, None where there is none.

    ``NOWHERE`` and the link's own time where a link leads nowhere: it fails like a file that
    cannot be read.
    """
    try:
        found = os.stat(path)
    except OSError:
        with suppress(OSError):
            link = os.lstat(path)
            return (NOWHERE, link.st_mtime_ns) if stat.S_ISLNK(link.st_mode) else None
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
