"""Masks of a data set, as they are stored: 8 bit grey or palette indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header

Mask = npt.NDArray[np.uint8]
BAND_ROWS = 1024


def read_mask(path: Path) -> Mask:
    """Return the stored values of a mask file as (H, W) uint8; palette indices are not colours.

    ImageError when it is damaged, in colours, or of another type.
    """
    read_header(path)
    try:
        with Image.open(path) as image:
            if image.mode in ("RGB", "RGBA"):
                return _one_channel(np.asarray(image, dtype=np.uint8))
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"), dtype=np.uint8)
            if image.mode in ("L", "P"):
                return _in_bands(image)
            mode = image.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"is damaged: {error}") from error
    raise ImageError(f'has mode "{mode}"; wanted 8 bit grey or palette')


def _in_bands(image: Image.Image) -> Mask:
    """Return the pixels of a picture of one byte each; at once Pillow would hold them thrice."""
    values = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, BAND_ROWS):
        stop = min(image.height, top + BAND_ROWS)
        values[top:stop] = np.asarray(image.crop((0, top, image.width, stop)))
    return values


def _one_channel(values: npt.NDArray[np.uint8]) -> Mask:
    """Return the grey of an RGB or RGBA mask; ImageError when its colours are not grey."""
    red, green, blue = np.moveaxis(values[:, :, :3], 2, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise ImageError("has colours; wanted class indices or 0 and 255, in grey or a palette")
    return np.ascontiguousarray(red)
