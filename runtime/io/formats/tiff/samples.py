"""Read TIFF pages of several samples a pixel that decoders do not take as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import DAMAGED
from foveate.runtime.io.formats.tiff.directory import (
    BITS,
    BYTEWISE,
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    PLANES,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
    TILE_WIDTH,
    WIDTH,
    Directory,
)

_BLACK_IS_ZERO, _RGB, _SEPARATE, _DIFFERENCES = 1, 2, 2, 2


@dataclass(frozen=True)
class SampledPage:
    """A page of several unsigned samples of 8 or 16 bits a pixel; its size is as stored."""

    directory: Directory
    height: int
    width: int
    count: int
    bits: int
    colour: bool
    orientation: int

    @property
    def deep_planes(self) -> bool:
        """Say whether it has planes of 16 bits: OpenCV leaves memory as it was."""
        return self.bits == 16 and self.directory[PLANES] == _SEPARATE

    def pixels(self, file: BinaryIO, decode: Callable[[bytes], Array]) -> Array:
        """Return (H, W, C) pixels, not yet upright. ``decode`` decodes a grey TIFF."""
        page = self.directory
        if page[COMPRESSION] not in BYTEWISE or page[PREDICTOR] not in (1, _DIFFERENCES):
            raise ImageError(
                f"has {self.count} channels compressed by pixels; expected no compression, "
                "PackBits, LZW or deflate. Save it again"
            )
        for tag in (BITS, SAMPLE_FORMAT):
            values = page.values(file, tag)
            if tag in page.tags and len(values) < page.tags[tag].count:  # the file ends in them
                raise ImageError(DAMAGED)
            if len(set(values)) > 1:
                raise ImageError("has channels of several types; expected one. Convert it first")
        if page[PLANES] == _SEPARATE:
            parts = page.pieces // self.count
            if not parts:
                raise ImageError(DAMAGED)
            planes = [
                decode(page.alone(file, {PHOTOMETRIC: 1}, slice(start, start + parts)))
                for start in range(0, parts * self.count, parts)
            ]
            return np.stack(planes, axis=2)
        wide = {WIDTH: self.width * self.count, PHOTOMETRIC: 1, PREDICTOR: 1}
        if page.tiled:
            wide[TILE_WIDTH] = page[TILE_WIDTH] * self.count
        pixels = decode(page.alone(file, wide)).reshape(self.height, self.width, self.count)
        return self._summed(pixels) if page[PREDICTOR] == _DIFFERENCES else pixels

    def _summed(self, differences: Array) -> Array:
        """Return the pixels of differences to the left neighbour within each strip or tile."""
        step = self.directory[TILE_WIDTH] if self.directory.tiled else self.width
        parts = [
            np.cumsum(differences[:, left : left + step], axis=1, dtype=differences.dtype)
            for left in range(0, self.width, step)
        ]
        return np.concatenate(parts, axis=1)


def sampled_page(page: Directory) -> SampledPage | None:
    """Return how the samples of a page are read, None where it has one, or is not of this kind."""
    count, kind, bits = page[SAMPLES], page[PHOTOMETRIC], page[BITS]
    if count < 2 or kind not in (_BLACK_IS_ZERO, _RGB) or bits not in (8, 16):
        return None
    if page[SAMPLE_FORMAT] != 1 or page[WIDTH] <= 0 or page[HEIGHT] <= 0:
        return None
    size = page[HEIGHT], page[WIDTH]
    return SampledPage(page, *size, count, bits, kind == _RGB, page[ORIENTATION])
