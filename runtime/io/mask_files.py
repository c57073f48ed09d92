"""Masks on disk: 1-bit PNG when binary, palette PNG for classes; written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.png import encode_png

Mask = npt.NDArray[np.uint8]

PALETTE = (
    (0, 0, 0), (230, 75, 60), (60, 180, 95), (70, 130, 230), (245, 190, 60),
    (160, 90, 200), (60, 200, 210), (240, 120, 180), (150, 150, 60),
)  # fmt: skip
"""RGB of classes 0 to 8; later classes repeat from 1."""


def class_colour(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class index."""
    return PALETTE[index] if index < len(PALETTE) else PALETTE[1 + (index - 1) % 8]


def write_mask(path: Path, mask: Mask, classes: int) -> None:
    """Write a (H, W) uint8 mask of class indices as PNG, atomically; see ``encode_mask``."""
    data = encode_mask(mask, classes)
    write_atomically(path, lambda file: file.write(data))


def encode_mask(mask: Mask, classes: int) -> bytes:
    """Return the PNG of a (H, W) uint8 mask of class indices below ``classes``.

    Two classes: 0/255 in one bit a pixel. More: the indices themselves, with a palette, in as few
    bits as hold them.
    """
    if classes == 2:
        return encode_png(mask, 1)
    bits = next(bits for bits in (2, 4, 8) if classes <= 1 << bits)
    return encode_png(mask, bits, bytes(c for index in range(classes) for c in class_colour(index)))
