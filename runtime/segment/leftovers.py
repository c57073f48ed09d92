"""Temporary files that killed processes left in the folders of the masks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from foveate.runtime.atomic_files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX

_NAME = re.compile(
    f"{re.escape(TEMPORARY_PREFIX)}[0-9]+-[0-9]+{re.escape(TEMPORARY_SUFFIX)}", re.ASCII
)


def sweep(folders: Iterable[Path]) -> int:
    """Remove the temporary files, and return how many there were.

    To be called by the one run that holds the folders, which has written nothing yet: so all are of
    runs that are over, whichever process has their number now. What cannot be removed stays.
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
        return [Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name)]
    return []
