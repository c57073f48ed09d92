"""Read the slices of a NIfTI-1 or NIfTI-2 volume, and write a mask with its geometry.

A slice is what the third axis counts. It is shown as a DICOM viewer shows it, by the affine: the
patient's left to the right, posterior or inferior down. So a slice is one run of bytes in the file.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import CUT, MAX_BYTES, MAX_FRAMES, MAX_INFLATION
from foveate.runtime.io.formats.once_per_file import once_per_file
from foveate.runtime.io.formats.pixel_size import PixelSize, plausible
from foveate.runtime.io.window import Window, through

HEAD = 540
"""Bytes of the longer header."""
_TAIL = 1 << 16
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""Codes of the units of length."""
_SILENT = logging.Logger("nifti", logging.CRITICAL + 1)


def is_nifti(head: bytes) -> bool:
    """Say whether a file, inflated, begins like NIfTI-1 or NIfTI-2."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:7] in (b"n+2", b"ni2")


def read_nifti(head: bytes, zipped: bool) -> Nifti:
    """Return the header that a file's first bytes, inflated, hold; ImageError names what is wrong.

    ``zipped``: the file is gzip of it.
    """
    if not is_nifti(head):
        raise ImageError("is gzip, but not of a NIfTI file; expected .nii.gz. Unpack it first")
    if b"ni" in (head[344:346], head[4:6]):
        raise ImageError("is half of a .hdr and .img pair; expected one file. Save it as .nii.gz")
    if find_spec("nibabel") is None:
        raise ImageError("is NIfTI; reading it needs nibabel: pip install 'foveate[nifti]'")
    import nibabel

    kind = nibabel.Nifti2Header if head[4:7] == b"n+2" else nibabel.Nifti1Header
    try:
        header = kind(head[: kind.template_dtype.itemsize], check=False)
        header.check_fix(_SILENT, logging.CRITICAL)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        offset, affine = int(header["vox_offset"]), header.get_best_affine()
    except Exception as error:  # nibabel raises many types on damaged headers
        raise ImageError("is damaged: its NIfTI header makes no sense") from error
    if not 2 <= len(shape) or math.prod(shape[3:]) != 1 or min(shape) < 1:
        raise ImageError(
            f"has the shape {shape}; expected a slice or a stack of slices, 2 or 3 axes. Save each "
            "volume as its own file"
        )
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ImageError(f"has voxels of {dtype}; expected whole numbers or floats of 8 to 64 bits")
    volume = Nifti(header, shape, dtype, slope or 1.0, intercept or 0.0, offset, affine, zipped)
    if volume.frames > MAX_FRAMES or offset + volume.nbytes > MAX_BYTES:
        raise ImageError(
            f"has {volume.frames} slices, {volume.nbytes} bytes in all from byte {offset} on; the "
            f"limits are {MAX_FRAMES} slices and {MAX_BYTES} bytes. Cut it into parts"
        )
    return volume


@dataclass(frozen=True)
class Nifti:
    """A header. ``shape`` counts the voxels along each axis, of type ``dtype`` as stored."""

    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    slope: float
    intercept: float
    offset: int
    affine: npt.NDArray[np.float64]
    zipped: bool

    format = "NIfTI"

    @property
    def frames(self) -> int:
        return self.shape[2] if len(self.shape) > 2 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice as it is shown."""
        height, width = self.shown(np.broadcast_to(0, self.shape[1::-1])).shape
        return height, width

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def numbers(self) -> bool:
        """Say whether only a window makes pixels of the values."""
        plain = self.dtype.kind == "u" and self.dtype.itemsize <= 2
        return not plain or (self.slope, self.intercept) != (1.0, 0.0)

    def bits(self, page: int) -> int:
        return 16 if self.numbers or self.dtype.itemsize > 1 else 8

    def pixel_size(self, page: int) -> PixelSize | None:
        """Return the size of a slice's pixels as it is shown; None where the unit is unknown."""
        unit = _MILLIMETRES.get(int(self.header["xyzt_units"]) & 7)
        if unit is None:
            return None
        size = plausible(*(abs(float(zoom)) * unit for zoom in self.header["pixdim"][1:3]))
        turned = self.shown(np.broadcast_to(0, (1, 2))).shape == (2, 1)
        return size.transposed if size and turned else size

    def pixels(self, file: BinaryIO, page: int, window: Window | None) -> Pixels:
        """Return slice ``page`` (from 1, 0 for the only one) as ``read_image`` does."""
        values = self.shown(self._stored(file, page))
        if self.numbers:
            return through(window, values, self.slope, self.intercept)
        return values.astype(np.uint8) if self.dtype.itemsize == 1 else values.astype(np.uint16)

    def labels(self, file: BinaryIO, page: int) -> Pixels:
        """Return slice ``page`` of a mask: its values, uint8 or uint16; ImageError for others."""
        values = self.shown(self._stored(file, page)) * self.slope + self.intercept
        labels = np.clip(np.nan_to_num(values, nan=-1), 0, 65535).astype(np.uint16)
        if not np.array_equal(labels, values):
            raise ImageError("has values that are not labels; expected whole numbers from 0 up")
        return labels.astype(np.uint8) if labels.max() < 256 else labels

    def shown(self, plane: Array) -> Array:
        """Return a view of a (J, I) plane of the volume as a DICOM viewer shows it."""
        from nibabel.orientations import io_orientation

        try:
            with np.errstate(all="ignore"):
                (i_axis, i_flip), (j_axis, j_flip) = io_orientation(self.affine)[:2]
        except (ValueError, np.linalg.LinAlgError):
            return plane
        if np.isnan((i_axis, j_axis)).any():  # a degenerate affine tells nothing
            return plane
        plane = plane[:: -1 if j_flip > 0 else 1, :: -1 if i_flip > 0 else 1]
        return plane if i_axis < j_axis else plane.T

    def mask(self, slices: Iterable[tuple[int, Array]]) -> bytes:
        """Return the .nii.gz of (page, mask as it is shown): this shape, affine and units."""
        import nibabel

        volume = np.zeros((self.frames, self.shape[1], self.shape[0]), np.uint8)
        for page, mask in slices:
            self.shown(volume[max(page, 1) - 1])[...] = mask
        header = self.header.copy()
        header.set_data_dtype(np.uint8)
        for name in ("scl_slope", "scl_inter", "cal_max", "cal_min", "vox_offset"):
            header[name] = 0
        for name in ("descrip", "aux_file", "intent_name"):  # may name a patient
            header[name] = b""
        if "db_name" in header:
            header["db_name"] = b""
        image = nibabel.Nifti2Image if HEAD == header.sizeof_hdr else nibabel.Nifti1Image
        data = volume.T.reshape(self.shape, order="F")
        return gzip.compress(image(data, None, header).to_bytes(), 1, mtime=0)

    def _stored(self, file: BinaryIO, page: int) -> Array:
        """Return slice ``page`` as it is stored, (J, I): rows of what the first axis counts."""
        size = self.nbytes // self.frames
        start = self.offset + (max(page, 1) - 1) * size
        if self.zipped:
            data = _inflated(file, self.offset + self.nbytes)[start : start + size]
        else:
            file.seek(start)
            data = file.read(size)
        if len(data) < size:
            raise ImageError(CUT)
        return np.frombuffer(data, self.dtype).reshape(self.shape[1], self.shape[0])


@once_per_file(2, alone=True)
def _inflated(file: BinaryIO, size: int) -> bytes:
    """Return the ``size`` bytes of a gzip file, and what little follows them."""
    packed = file.seek(0, os.SEEK_END)
    if packed * MAX_INFLATION < size:
        raise ImageError(CUT)
    file.seek(0)
    try:
        data = gzip.GzipFile(fileobj=file).read(size + _TAIL)
    except EOFError as error:
        raise ImageError(CUT) from error
    except (OSError, zlib.error) as error:
        raise ImageError(
            "is damaged: its header is sound, its voxels cannot be unpacked"
        ) from error
    if len(data) == size + _TAIL:
        raise ImageError(f"inflates to more than the {size} bytes of its header. Save it again")
    return data
