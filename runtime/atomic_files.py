"""Files that are written whole or not at all.

No ``fsync``: a killed process loses nothing that was renamed, a power cut may. What counts after
one is the sha256 noted beside the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import IO

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".foveate-", ".tmp"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_numbers = count()


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` on a temporary file beside ``path``, then rename it to ``path``.

    A failure leaves neither the temporary file nor a half-written ``path``; its OSError names
    ``path``. The file has the permissions that the umask leaves.
    """
    try:
        handle, temporary = _create_beside(path)
    except OSError as error:  # it would name the temporary file
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:  # buffered: a raw write may stop short, and not say
            write(file)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def _create_beside(path: Path) -> tuple[int, str]:
    """Return a file that was not there before, open for writing, and its name."""
    folder, process = os.path.dirname(path), os.getpid()
    while True:
        name = f"{TEMPORARY_PREFIX}{process}-{next(_numbers)}{TEMPORARY_SUFFIX}"
        temporary = os.path.join(folder, name)
        try:
            return os.open(temporary, _NEW, 0o666), temporary
        except FileExistsError:  # of a killed process that had this number, or of another machine
            continue
