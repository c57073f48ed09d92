"""Write files whole or not at all.

No ``fsync``: a killed process loses nothing that was renamed, a power cut may. What counts after
one is the sha256 noted next to the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".foveate-", ".tmp"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_TEMPORARY_NAME = re.compile(
    f"{re.escape(TEMPORARY_PREFIX)}[0-9]+-[0-9]+{re.escape(TEMPORARY_SUFFIX)}", re.ASCII
)
_numbers = count()


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write bytes to a temporary file next to ``path``, then rename it to ``path``.

    ``content`` may also be a function that writes to the open file. A failure leaves neither the
    temporary file nor a half-written ``path``; its OSError names ``path``. The file has the
    permissions that the umask leaves.
    """
    try:
        handle, temporary = _create_next_to(path)
    except OSError as error:  # it would name the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:  # buffered: a raw write may silently stop short
            file.write(content) if isinstance(content, bytes) else content(file)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _create_next_to(path: Path) -> tuple[int, str]:
    """Return a file that was not there before, open for writing, and its name."""
    folder = os.path.dirname(path)
    while True:
        temporary = os.path.join(folder, _temporary_name())
        try:
            return os.open(temporary, _NEW, 0o666), temporary
        except FileExistsError:  # of a killed process that had this number, or of another machine
            continue


def check_writable(folder: Path) -> None:
    """Make a folder where it is missing, and a file in it for a moment; OSError names the folder.

    For what is written after long work, so that it is refused before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = _create_next_to(folder / TEMPORARY_PREFIX)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error
    os.close(handle)
    os.unlink(temporary)


def make_temporary_folder(parent: Path) -> Path:
    """Make an empty folder that was not there, with the permissions that the umask leaves."""
    while True:
        folder = parent / _temporary_name()
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_numbers)}{TEMPORARY_SUFFIX}"


def remove_stale_files(folders: Iterable[Path]) -> int:
    """Remove the temporary files that killed processes left in folders; return how many.

    Only the run that has locked the folders may call this, before it writes anything.
    """
    removed = 0
    for folder in folders:
        for path in _stale_files(folder):
            with suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def _stale_files(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if _TEMPORARY_NAME.fullmatch(entry.name)]
    return []
