"""The EXIF orientation of an image: read, and applied.

Only EXIF counts; an orientation in XMP does not. One that cannot be read is none.
"""

from __future__ import annotations

import cv2
from PIL import Image

from foveate.runtime.arrays import Array

_ORIENTATION = 0x0112
_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange height and width."""


def exif_orientation(stored: bytes) -> int:
    """Return the orientation in EXIF data, 1 to 8; 1 where it has none that can be read."""
    if not stored:
        return 1
    exif = Image.Exif()
    try:
        exif.load(stored)
        value = int(exif.get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # Pillow raises many types on damaged tags
        return 1
    return value if 1 <= value <= 8 else 1


def exif_of(orientation: int) -> bytes:
    """Return EXIF data that hold an orientation alone."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif.tobytes()


def upright(pixels: Array, orientation: int) -> Array:
    """Return the (H, W) or (H, W, C) pixels of an image of some orientation upright."""
    if orientation in _TURNS and pixels.shape[2:] == (3,):
        return cv2.rotate(pixels, _TURNS[orientation])  # a view would take five times as long
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
