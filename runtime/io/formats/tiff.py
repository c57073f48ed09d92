"""Read the directory of a TIFF page within stated limits, and grey of 9 to 16 bits as 16 bits.

libtiff makes room for what a directory promises: a tile of 40,000 x 40,000 in a file of 151 bytes.
Pillow leaves 12 bits unscaled, knows no other depth between 8 and 16, and inverts a WhiteIsZero
page of 8 bits alone: it gets such a page as BlackIsZero, a packed one as rows of bytes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import (
    LARGEST_SMALL_TILE,
    MAX_PIECES,
    MAX_SIDE,
    MAX_TAGS,
    SPARE_PIECES,
)
from foveate.runtime.io.formats.tiff_pages import read_number

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_SIZES = 273, 274, 277, 278, 279
PLANES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 284, 317, 322, 323, 324, 325
SAMPLE_FORMAT = 339

_BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that know nothing of pixels: none, LZW, deflate, PackBits, LZMA, Zstandard."""
_ROWS = 64
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}


@dataclass(frozen=True)
class Tag:
    """One entry: its type, how many values, the first of them, and where in the file that is."""

    kind: int
    count: int
    value: int
    place: int


class Directory:
    """The tags of a TIFF page, by number."""

    def __init__(self, order: str, tags: dict[int, Tag]) -> None:
        self._order, self.tags = order, tags

    def __getitem__(self, number: int) -> int:
        """Return the first value of a tag, or what the TIFF standard says it is without one."""
        tag = self.tags.get(number)
        return tag.value if tag else _DEFAULTS.get(number, 0)

    def patch(self, number: int, value: int) -> dict[int, bytes]:
        """Return the bytes that give a tag another value, by their place; none without the tag."""
        tag = self.tags.get(number)
        if tag is None or tag.value == value:
            return {}
        return {tag.place: struct.pack(self._order + _NUMBERS[tag.kind], value)}


_DEFAULTS = {BITS: 1, COMPRESSION: 1, SAMPLES: 1, PLANES: 1, PREDICTOR: 1, SAMPLE_FORMAT: 1,
             ORIENTATION: 1, STRIP_ROWS: (1 << 32) - 1}  # fmt: skip


def read_directory(file: BinaryIO) -> Directory | None:
    """Return the first directory of a TIFF, None where it is not a TIFF; the place is kept.

    ImageError where it promises more than its image needs.
    """
    start = file.tell()
    try:
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return None
        version = struct.unpack(order + "H", head[2:4])[0]
        if version not in (42, 43):
            return None
        directory = Directory(order, _tags(file, head, order, version == 43))
    finally:
        file.seek(start)
    _check_pieces(directory)
    return directory


def _tags(file: BinaryIO, head: bytes, order: str, big: bool) -> dict[int, Tag]:
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    first, number = struct.Struct(order + ("Q" if big else "I")), "Q" if big else "H"
    offset = first.unpack_from(head, 8 if big else 4)[0]
    size = file.seek(0, os.SEEK_END)
    count = read_number(file, offset, struct.Struct(order + number))
    if count > MAX_TAGS:
        raise ImageError(f"has {count} tags; the limit is {MAX_TAGS}. Save it again")
    tags: dict[int, Tag] = {}
    promised, place = 0, offset + struct.calcsize(order + number)
    file.seek(min(place, size))
    block = file.read(count * entry.size)
    for begin in range(0, len(block) - entry.size + 1, entry.size):
        name, kind, many, field = entry.unpack_from(block, begin)
        inline = place + begin + entry.size - len(field)
        length = many * _SIZES.get(kind, 0)
        at = inline if length <= len(field) else first.unpack(field)[0]
        promised += length * (at != inline)
        if kind in _NUMBERS and many:
            form = order + _NUMBERS[kind]
            inside = at == inline
            value = (
                struct.unpack_from(form, field)[0]
                if inside
                else read_number(file, at, struct.Struct(form))
            )
            tag = Tag(kind, many, value, at)
            if name in tags and (tags[name].count, tags[name].value) != (many, value):
                raise ImageError(f"has tag {name} twice, with other values. Save it again")
            tags[name] = tag
    if promised > 2 * size:
        raise ImageError(
            f"has tags of {promised} bytes in a file of {size}; at most twice as many are "
            "expected. Save it again"
        )
    return tags


def _check_pieces(page: Directory) -> None:
    """Raise ImageError for tiles larger, or strips and tiles more, than the image needs."""
    width, height = page[WIDTH], page[HEIGHT]
    if TILE_OFFSETS in page.tags or TILE_WIDTH in page.tags:
        across, down = page[TILE_WIDTH], page[TILE_HEIGHT]
        for side, image in ((across, width), (down, height)):
            most = max(LARGEST_SMALL_TILE, -(-image // 16) * 16)
            if side > most:
                raise ImageError(
                    f"has tiles of {across}x{down} pixels in an image of {width}x{height}; the "
                    f"limit is {most} a side. Save it again"
                )
    else:
        across, down = width, page[STRIP_ROWS]
    pieces = -(-width // max(1, across)) * -(-height // max(1, down))
    pieces *= page[SAMPLES] if page[PLANES] == 2 else 1
    most = min(MAX_PIECES, pieces + SPARE_PIECES)
    for number in (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES):
        count = page.tags[number].count if number in page.tags else 0
        if count > most:
            raise ImageError(
                f"has {count} strips or tiles; the limit for its size is {most}. Save it again"
            )


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
    bits, photometric = page[BITS], page[PHOTOMETRIC]
    stated = PHOTOMETRIC in page.tags and photometric in (0, 1)
    if not (stated and 8 < bits <= 16 and page[SAMPLE_FORMAT] == 1):
        return None
    if page[SAMPLES] != 1:
        raise ImageError(
            f"has {page[SAMPLES]} samples of {bits} bits a pixel; expected one: grey without "
            "transparency. Convert it first"
        )
    width, height, orientation = page[WIDTH], page[HEIGHT], page[ORIENTATION]
    if width <= 0 or height <= 0:
        return None
    patches = page.patch(PHOTOMETRIC, 1)
    if bits < 16:
        if (
            TILE_OFFSETS in page.tags
            or page[PREDICTOR] != 1
            or page[COMPRESSION] not in _BYTEWISE
            or page.tags[WIDTH].kind not in (3, 4)
        ):
            raise ImageError(
                f"has grey pixels of {bits} bits in tiles or compressed by pixels; expected strips "
                "without predictor. Save it with 16 bits"
            )
        if max(width, height) > MAX_SIDE:
            return DeepGrey(height, width, bits, False, orientation, {})  # refused by its size
        patches |= page.patch(BITS, 8) | page.patch(ORIENTATION, 1)
        patches |= page.patch(WIDTH, (width * bits + 7) // 8)
    return DeepGrey(height, width, bits, photometric == 0, orientation, patches)
