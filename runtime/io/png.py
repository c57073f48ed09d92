"""Write masks as PNG of 1, 2, 4, 8 or 16 bits a pixel, fast: packed by numpy, deflated once.

Every line is stored as its difference to the line above and deflated as run lengths (Z_RLE, level
1): masks and smooth pictures need no more, and the usual search for repeats costs several times as
much. Measured: docs/outputs.md.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Pixels
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.formats.pixel_size import PixelSize

Plane = npt.NDArray[np.uint8]

PALETTE = (
    (0, 0, 0), (230, 75, 60), (60, 180, 95), (70, 130, 230), (245, 190, 60),
    (160, 90, 200), (60, 200, 210), (240, 120, 180), (150, 150, 60),
)  # fmt: skip
"""RGB of classes 0 to 8; later classes repeat from 1."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_UP = 2
_PACKED = {2: ("<u4", 0x40100401), 4: ("<u2", 0x1001)}
"""Bits -> the pixels of a byte read as one number, and the factor that gathers them in its top."""


def class_colour(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class index."""
    return PALETTE[index] if index < len(PALETTE) else PALETTE[1 + (index - 1) % 8]


def write_mask(path: str | Path, mask: Plane, classes: int) -> None:
    """Write a mask as PNG, whole or not at all.

    ``mask`` is (H, W) uint8 class indices below ``classes``, 0 being background, as in
    ``Result.mask``; ``classes`` counts the background and is at most 256. Two classes: 0 and 255 in
    one bit a pixel. More: the indices themselves, with a palette. Raises OSError.
    """
    write_atomically(Path(path), encode_mask(mask, classes))


def encode_mask(mask: Plane, classes: int, size: PixelSize | None = None) -> bytes:
    """Return the PNG of a (H, W) uint8 mask of class indices below ``classes``.

    Two classes: 0/255 in one bit a pixel. More: the indices themselves, with a palette, in as few
    bits as hold them. ``size`` is that of a pixel, if known.
    """
    phys = size.phys() if size else b""
    if classes == 2:
        return encode_png(mask, 1, phys=phys)
    bits = next(bits for bits in (2, 4, 8) if classes <= 1 << bits)
    palette = bytes(c for index in range(classes) for c in class_colour(index))
    return encode_png(mask, bits, palette, phys)


def encode_png(plane: Pixels, bits: int, palette: bytes = b"", phys: bytes = b"") -> bytes:
    """Return the PNG of (H, W) values below 2 ** bits: grey, or indices of an RGB palette.

    Values are uint16 for 16 bits, else uint8. Grey of one bit: every value but 0 is white. ``phys``
    is the content of a pHYs chunk.
    """
    height, width = plane.shape
    colour = _PALETTE if palette else _GREY
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    pixels = deflate.compress(_filtered(_packed(plane, bits)).data) + deflate.flush()
    chunks = [(b"IHDR", header), (b"pHYs", phys), (b"PLTE", palette), (b"IDAT", pixels)]
    present = [_chunk(name, data) for name, data in chunks if data]
    return b"".join((_SIGNATURE, *present, _chunk(b"IEND", b"")))


def _packed(plane: Pixels, bits: int) -> Plane:
    """Return (H, bytes of a line): the first pixel in the highest bits, the last byte filled up."""
    if bits >= 8:
        return plane.astype(f">u{bits // 8}", copy=False).view(np.uint8)
    if bits == 1:
        return np.packbits(plane, axis=1)
    number, factor = _PACKED[bits]
    missing = -plane.shape[1] % (8 // bits)
    whole = np.pad(plane, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(plane)
    groups = whole.view(number)
    shift = groups.dtype.type(8 * groups.itemsize - 8)
    return np.asarray((groups * groups.dtype.type(factor)) >> shift, np.uint8)


def _filtered(lines: Plane) -> Plane:
    """Return the lines as differences to the line above, each behind the mark that says so."""
    filtered = np.empty((lines.shape[0], lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(name: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", check)))
