"""Read grey TIFF pages of 9 to 16 bits as 16 bits, whatever their byte order and polarity.

Pillow leaves 12 bits unscaled, knows no other depth between 8 and 16, and inverts a WhiteIsZero
page of 8 bits alone. It gets such a page as BlackIsZero; a packed one as rows of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats import tiff_directory as tiff
from foveate.runtime.io.formats.limits import MAX_SIDE
from foveate.runtime.io.formats.tiff_directory import Directory

_BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that know nothing of pixels: none, LZW, deflate, PackBits, LZMA, Zstandard."""
_ROWS = 64


@dataclass(frozen=True)
class DeepGrey:
    """A grey page of 9 to 16 bits: its size as stored, and how its file is shown to Pillow."""

    height: int
    width: int
    bits: int
    inverted: bool
    orientation: int
    patches: dict[int, bytes]

    @property
    def packed(self) -> bool:
        """Say whether pixels begin and end within bytes."""
        return self.bits < 16

    def pixels(self, decoded: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
        """Return what Pillow decoded as 16-bit pixels, 0 being black and 65535 (nearly) white."""
        found = self._unpacked(decoded) if self.packed else decoded.astype(np.uint16, copy=False)
        white = ((1 << self.bits) - 1) << (16 - self.bits)
        return np.uint16(white) - found if self.inverted else found

    def _unpacked(self, rows: npt.NDArray[np.generic]) -> npt.NDArray[np.uint16]:
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


def deep_grey(page: Directory) -> DeepGrey | None:
    """Return how a page is read when it is grey of 9 to 16 bits; None for all others.

    ImageError where its pixels are packed in a way that is not supported.
    """
    bits, photometric = page[tiff.BITS], page[tiff.PHOTOMETRIC]
    stated = tiff.PHOTOMETRIC in page.tags and photometric in (0, 1)
    if not (stated and 8 < bits <= 16 and page[tiff.SAMPLE_FORMAT] == 1):
        return None
    if page[tiff.SAMPLES] != 1:
        raise ImageError(
            f"has {page[tiff.SAMPLES]} samples of {bits} bits a pixel; expected one: grey without "
            "transparency. Convert it first"
        )
    width, height, orientation = page[tiff.WIDTH], page[tiff.HEIGHT], page[tiff.ORIENTATION]
    if width <= 0 or height <= 0:
        return None
    patches = page.patch(tiff.PHOTOMETRIC, 1)
    if bits < 16:
        if (
            tiff.TILE_OFFSETS in page.tags
            or page[tiff.PREDICTOR] != 1
            or page[tiff.COMPRESSION] not in _BYTEWISE
            or page.tags[tiff.WIDTH].kind not in (3, 4)
        ):
            raise ImageError(
                f"has grey pixels of {bits} bits in tiles or compressed by pixels; expected strips "
                "without predictor. Save it with 16 bits"
            )
        if max(width, height) > MAX_SIDE:
            return DeepGrey(height, width, bits, False, orientation, {})  # refused by its size
        patches |= page.patch(tiff.BITS, 8) | page.patch(tiff.ORIENTATION, 1)
        patches |= page.patch(tiff.WIDTH, (width * bits + 7) // 8)
    return DeepGrey(height, width, bits, photometric == 0, orientation, patches)
