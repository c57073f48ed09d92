"""Arrays in one nameless file on disk, read through memory maps."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import DataError

Array = npt.NDArray[np.generic]
SPARE_BYTES = 1 << 30
"""Left free on the disk: other programs, the run's own files."""


class PixelFile:
    """Arrays by name, written once and then mapped, so that only pages that are read are loaded.

    The file has no name, so nothing is left of it when the process ends, however it ends; processes
    started by this one read it too. DataError when the disk has no room for ``expected`` bytes.
    """

    def __init__(self, folder: Path, expected: int) -> None:
        self.folder = folder
        self._places: dict[str, tuple[int, np.dtype[np.generic], tuple[int, ...]]] = {}
        self._end = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder, expected)
            self._file = tempfile.TemporaryFile(dir=folder)
        except OSError as error:
            raise self._failure(error) from error
        weakref.finalize(self, self._file.close)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a process that is being spawned, with the file's descriptor."""
        return {**vars(self), "_file": DupFd(self._file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _file=os.fdopen(state["_file"].detach(), "rb"))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def add(self, name: str, array: Array) -> None:
        """Write an array to the file."""
        try:
            self._file.seek(self._end)
            self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error
        self._places[name] = (self._end, array.dtype, array.shape)
        self._end += array.nbytes

    def get(self, name: str) -> Array:
        """Return an array as it was added, read-only; its pages are read when they are used."""
        start, dtype, shape = self._places[name]
        return np.asarray(np.memmap(self._file, dtype, "r", start, shape))

    def _failure(self, error: OSError) -> DataError:
        return DataError(
            f"{self.folder}: decoded images cannot be kept there: {error.strerror}. "
            "FOVEATE_CACHE=FOLDER names another disk"
        )


def _check_room(folder: Path, expected: int) -> None:
    free = shutil.disk_usage(folder).free
    if expected + SPARE_BYTES > free:
        raise DataError(
            f"{folder}: {expected / 1e9:.1f} GB of decoded images do not fit in memory and go "
            f"there; {free / 1e9:.1f} GB are free, and {SPARE_BYTES / 1e9:.1f} GB must stay so. "
            "Make room, name a folder on another disk (FOVEATE_CACHE=FOLDER), or raise cache_gb"
        )
