"""Temporary files that killed processes left in the folders of the masks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from foveate.runtime.atomic_files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX

_NAME = re.compile(
    f"{re.escape(TEMPORARY_PREFIX)}([0-9]+)-[0-9]+{re.escape(TEMPORARY_SUFFIX)}", re.ASCII
)


def sweep(folders: Iterable[Path]) -> int:
    """Remove the temporary files of processes that are over, and return how many there were.

    To be called by a process that has written nothing yet. What cannot be removed stays.
    """
    removed = 0
    for folder in folders:
        for path in _leftovers(folder):
            with suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def _leftovers(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        found = [(Path(entry.path), _NAME.fullmatch(entry.name)) for entry in entries]
        return [path for path, match in found if match and not _alive(int(match[1]))]
    return []


def _alive(process: int) -> bool:
    """Say whether another process of this number runs; ours has written nothing yet."""
    if process == os.getpid() or os.name == "nt":  # Windows lets nobody remove an open file
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
