"""Masks of a data set, as they are stored: 8 bit grey or palette indices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.exif import upright
from foveate.runtime.io.formats.headers import Header, opened, read_header
from foveate.runtime.io.formats.nifti import Nifti
from foveate.runtime.io.formats.volumes import Volume

Mask = npt.NDArray[np.uint8]
BAND_ROWS = 1024
BAND_PIXELS = 1 << 20
"""Masks are counted so many pixels at a time: numpy counts in eight bytes a pixel."""


def read_mask(path: Path, page: int = 0) -> Mask:
    """Return the stored values of a mask file as (H, W) uint8; palette indices are not colours.

    An EXIF orientation is applied, as to images. ImageError when it is damaged, in colours, or of
    another type. ``page`` is a slice of NIfTI, from 1; it is turned as a slice of an image is.
    """
    header = read_header(path, page)
    with opened(path, page) as file:
        if header.volume:
            return _slice(file, page, header.volume)
        return np.ascontiguousarray(upright(_stored(file), header.orientation))


def _slice(file: BinaryIO, page: int, volume: Volume) -> Mask:
    if not isinstance(volume, Nifti):
        raise ImageError("is DICOM; expected a mask in a picture or in NIfTI. Convert it first")
    values = volume.labels(file, page)
    if values.max() > 255:
        raise ImageError(f"has the value {values.max()}; expected 0 to 255")
    return values.astype(np.uint8)


def _stored(file: BinaryIO) -> Mask:
    """Return the values of a mask file, not yet upright but for a TIFF, which Pillow turns."""
    try:
        with Image.open(file) as image:
            if image.mode in ("RGB", "RGBA"):
                return _one_channel(np.asarray(image, dtype=np.uint8))
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"), dtype=np.uint8)
            if image.mode in ("L", "P"):
                return _in_bands(image)
            mode = image.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"is damaged: {error}") from error
    raise ImageError(f'has mode "{mode}"; expected 8 bit grey or palette')


def _in_bands(image: Image.Image) -> Mask:
    """Return the pixels of a picture of one byte each; at once Pillow would hold them thrice."""
    image.load()  # a TIFF is turned by this
    values = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, BAND_ROWS):
        stop = min(image.height, top + BAND_ROWS)
        values[top:stop] = np.asarray(image.crop((0, top, image.width, stop)))
    return values


def _one_channel(values: npt.NDArray[np.uint8]) -> Mask:
    """Return the grey of an RGB or RGBA mask; ImageError when its colours are not grey."""
    red, green, blue = np.moveaxis(values[:, :, :3], 2, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise ImageError("has colours; expected class indices or 0 and 255, in grey or a palette")
    return np.ascontiguousarray(red)


@dataclass(frozen=True)
class Contents:
    """Size in pixels and bits of an image (8 or 16), and pixels of each value in its mask."""

    height: int
    width: int
    bits: int
    areas: dict[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of image and mask, decoded."""
        return self.height * self.width * (self.bits // 8 + 1)

    @property
    def empty(self) -> bool:
        return set(self.areas) <= {0}

    def share(self, label: int) -> float:
        """Return the share of the image that a class covers, 0 to 1."""
        return self.areas.get(label, 0) / (self.height * self.width)

    def binary(self) -> Contents:
        """Return the same with every value but 0 counted as 1."""
        background = self.areas.get(0, 0)
        areas = {0: background, 1: sum(self.areas.values()) - background}
        return replace(self, areas={label: count for label, count in areas.items() if count})


def contents_of(header: Header, counts: npt.NDArray[np.int64]) -> Contents:
    """Return the contents of an image by its header and the (256,) counts of its mask."""
    wide = header.mode.startswith("I;16") or header.sample_bits > 8
    areas = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    return Contents(header.height, header.width, 16 if wide else 8, areas)


def count_values(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return (256,) int64: how many pixels of a mask have each value."""
    flat, counts = mask.reshape(-1), np.zeros(256, np.int64)
    for start in range(0, flat.size, BAND_PIXELS):
        counts += np.bincount(flat[start : start + BAND_PIXELS], minlength=256)
    return counts
