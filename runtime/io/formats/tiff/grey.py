"""Read grey TIFF pages that Pillow does not read as they are stored.

Pillow leaves 12 bits unscaled, knows no other depth between 8 and 16, inverts a WhiteIsZero page of
8 bits alone, takes int8 for uint8 and swaps the bytes of deflated big-endian numbers twice. Pages
of 9 to 15 bits are decoded as rows of bytes, numbers by OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Array
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import DAMAGED, MAX_SIDE
from foveate.runtime.io.formats.tiff.directory import (
    BITS,
    BYTEWISE,
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
    WIDTH,
    Directory,
)

_ROWS = 64
_UNSIGNED, _SIGNED, _FLOAT = "u", "i", "f"
_KINDS = {2: _SIGNED, 3: _FLOAT}
_COMPLEX = (5, 6)
_NUMBERS = ("i8", "i16", "i32", "i64", "u32", "u64", "f16", "f32", "f64")


@dataclass(frozen=True)
class GreyPage:
    """A grey page of 9 bits or more, or of signed values: size as stored, and how it is decoded.

    ``numbers`` is the type of values that only a window makes into pixels, None where they are
    pixels of ``bits`` bits. ``inverted``: white is 0.
    """

    directory: Directory
    height: int
    width: int
    bits: int
    numbers: np.dtype[np.generic] | None
    inverted: bool
    orientation: int

    @property
    def as_stored(self) -> bool:
        """Say whether Pillow decodes it without help."""
        plain = self.bits == 16 and self.directory[SAMPLE_FORMAT] == 1
        return plain and self.numbers is None and not self.inverted

    def alone(self, file: BinaryIO) -> bytes:
        """Return the page as a file of its own in a form that decoders take."""
        changes = {PHOTOMETRIC: 1}
        if self._packed:
            changes |= {BITS: 8, WIDTH: (self.width * self.bits + 7) // 8}
        if self.numbers is None or self.numbers == np.float16:  # which OpenCV does not know
            changes |= {SAMPLE_FORMAT: 1}
        return self.directory.alone(file, changes)

    def values(self, decoded: Array) -> Array:
        """Return the pixels or numbers of what a decoder made of ``alone``, not yet upright.

        Pixels are uint16, 0 being black and 65535 (nearly) white.
        """
        if self.numbers is not None:
            if decoded.dtype.itemsize != self.numbers.itemsize:
                raise ImageError(DAMAGED)
            return decoded.view(self.numbers)
        found = self._unpacked(decoded) if self._packed else decoded.astype(np.uint16, copy=False)
        white = ((1 << self.bits) - 1) << (16 - self.bits)
        return np.uint16(white) - found if self.inverted else found

    @property
    def _packed(self) -> bool:
        """Say whether pixels begin and end within bytes."""
        return self.bits % 8 != 0

    def _unpacked(self, rows: Array) -> npt.NDArray[np.uint16]:
        """Return packed pixels in the high bits of 16, as OpenCV scales them."""
        pixels = np.empty((self.height, self.width), np.uint16)
        wide = np.zeros((_ROWS, self.width, 16), np.uint8)
        for start in range(0, self.height, _ROWS):
            part = np.asarray(rows[start : start + _ROWS], np.uint8)
            bits = np.unpackbits(part, axis=1, count=self.width * self.bits)
            wide[: len(part), :, : self.bits] = bits.reshape(len(part), self.width, self.bits)
            words = np.packbits(wide[: len(part)], axis=2).view(">u2")
            pixels[start : start + _ROWS] = words[:, :, 0]
        return pixels


def grey_page(page: Directory) -> GreyPage | None:
    """Return how a page is read when it is grey and not of 1 to 8 bits; None for all others.

    ImageError where its values are of a kind, or packed in a way, that is not supported.
    """
    bits, stored_as = page[BITS], page[SAMPLE_FORMAT]
    if stored_as in _COMPLEX:
        raise ImageError("has complex numbers as pixels; expected real ones. Convert it first")
    kind = _KINDS.get(stored_as, _UNSIGNED)
    numbers = kind != _UNSIGNED or bits > 16
    grey = page[PHOTOMETRIC] in (0, 1) and PHOTOMETRIC in page.tags
    if not numbers and (not grey or bits <= 8):
        return None
    if page[SAMPLES] != 1:
        if not numbers and bits == 16:
            return None
        raise ImageError(
            f"has {page[SAMPLES]} samples of {bits} bits a pixel; expected one: grey without "
            "transparency. Convert it first"
        )
    if numbers and f"{kind}{bits}" not in _NUMBERS:
        raise ImageError(
            f"has grey pixels of {bits} bits; expected 1 to 16, or numbers of 8, 16, 32 or 64. "
            "Convert it first"
        )
    width, height = page[WIDTH], page[HEIGHT]
    if width <= 0 or height <= 0:
        return None
    if bits % 8 and max(width, height) <= MAX_SIDE:
        if page.tiled or page[PREDICTOR] != 1 or page[COMPRESSION] not in BYTEWISE:
            raise ImageError(
                f"has grey pixels of {bits} bits in tiles or compressed by pixels; expected strips "
                "without predictor. Save it with 16 bits"
            )
    return GreyPage(
        page,
        height,
        width,
        bits,
        np.dtype(f"{kind}{bits // 8}") if numbers else None,
        grey and page[PHOTOMETRIC] == 0,
        page[ORIENTATION],
    )
