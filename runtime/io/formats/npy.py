"""Read arrays that NumPy saved (NPY): (H, W) grey, (H, W, C) channels. Pickles are refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import CUT

NPY_START = np.lib.format.MAGIC_PREFIX
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class NpyArray:
    """The header of an array: its shape, and where its values of a type begin."""

    height: int
    width: int
    count: int
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def numbers(self) -> bool:
        """Say whether it has values that only a window makes into pixels."""
        return self.dtype.kind != "u" or self.dtype.itemsize > 2

    def values(self, file: BinaryIO) -> Array:
        """Return the (H, W), or (H, W, C), values; ImageError where the file is too short."""
        shape = (self.height, self.width) + (self.count,) * (self.count > 1)
        size = self.height * self.width * self.count
        file.seek(self.start)
        data = file.read(size * self.dtype.itemsize)
        if len(data) < size * self.dtype.itemsize:
            raise ImageError(CUT)
        values = np.frombuffer(data, self.dtype)
        return values.reshape(shape, order="F" if self.fortran else "C")


def read_npy(file: BinaryIO) -> NpyArray:
    """Return the header of an open NPY file; ImageError for what is not an image."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
    except MemoryError:
        raise
    except Exception as error:  # its parser raises many types on damaged headers
        raise ImageError("is damaged: its NPY header cannot be read. Save it again") from error
    real = dtype.kind in "uif" and dtype.itemsize <= 8 and not dtype.hasobject
    if not real or len(shape) not in (2, 3) or min(shape) < 1:
        raise ImageError(
            f"is an array of {shape} {dtype}; expected (H, W) or (H, W, C) numbers. Convert it "
            "first"
        )
    height, width, count = (*shape, 1)[:3]
    start = file.tell()
    if file.seek(0, os.SEEK_END) < start + height * width * count * dtype.itemsize:
        raise ImageError(CUT)
    return NpyArray(height, width, count, dtype, fortran, start)
