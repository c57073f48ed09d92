"""Read the directory of a TIFF page within stated limits, and write a grey page as its own file.

libtiff makes room for what a directory promises: a tile of 40,000 x 40,000 in a file of 151 bytes.
Where a strip or tile is missing, decoders leave a hole or take other bytes for its pixels.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import (
    CUT,
    DAMAGED,
    LARGEST_SMALL_TILE,
    MAX_BYTES,
    MAX_PIECES,
    MAX_TAGS,
    SPARE_PIECES,
)

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_SIZES = 273, 274, 277, 278, 279
PLANES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 284, 317, 322, 323, 324, 325
SAMPLE_FORMAT, DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 339, 270, 282, 283, 296

BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that know nothing of pixels: none, LZW, deflate, PackBits, LZMA, Zstandard."""
_OF_GREY = (WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_ROWS, PREDICTOR,
            TILE_WIDTH, TILE_HEIGHT, SAMPLE_FORMAT)  # fmt: skip
"""The tags that say how a grey page is decoded, apart from the places of its strips or tiles."""
_YCBCR = 6
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
_OF_LENGTHS = (DESCRIPTION, X_RESOLUTION, Y_RESOLUTION)
"""Tags of other types, of which the directory keeps the place alone."""
_TEXT, _RATIONAL, _LONGEST_TEXT = 2, 5, 1 << 20


@dataclass(frozen=True)
class Tag:
    """One entry: its type, how many values, the first of them, and where in the file that is."""

    kind: int
    count: int
    value: int
    place: int


class Directory:
    """The tags of a TIFF page by number, and where its strips or tiles are."""

    def __init__(self, order: str, tags: dict[int, Tag]) -> None:
        self.order, self.tags = order, tags
        self.tiled = TILE_OFFSETS in tags or TILE_WIDTH in tags
        self._pieces: list[tuple[int, int]] = []

    def __getitem__(self, number: int) -> int:
        """Return the first value of a tag, or what the TIFF standard says it is without one."""
        tag = self.tags.get(number)
        return tag.value if tag else _DEFAULTS.get(number, 0)

    def check_pieces(self, file: BinaryIO) -> None:
        """Raise ImageError for tiles too large, and strips and tiles too many, missing or cut."""
        expected = self._expected_pieces()
        most = min(MAX_PIECES, expected + SPARE_PIECES)
        for number in (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES):
            count = self.tags[number].count if number in self.tags else 0
            if count > most:
                raise ImageError(
                    f"has {count} strips or tiles; the limit for its size is {most}. Save it again"
                )
        starts = self.values(file, TILE_OFFSETS, STRIP_OFFSETS)[:expected]
        sizes = self.values(file, TILE_SIZES, STRIP_SIZES)[:expected]
        if self[COMPRESSION] == 1 and self[PHOTOMETRIC] != _YCBCR:
            sizes = self._raw_sizes(len(starts))
        if not starts or not sizes:
            return  # the decoder says what it makes of that
        self._pieces = [piece for piece in zip(starts, sizes, strict=False) if min(piece) > 0]
        if len(self._pieces) < expected:
            raise ImageError(
                f"has {len(self._pieces)} of its {expected} strips or tiles; the others are "
                "missing. Save it again"
            )
        end = max((start + size for start, size in self._pieces), default=0)
        if end > file.seek(0, os.SEEK_END):
            raise ImageError(CUT)

    def _expected_pieces(self) -> int:
        """Return how many strips or tiles the image has; ImageError for tiles over the limit."""
        width, height = self[WIDTH], self[HEIGHT]
        across, down = width, self[STRIP_ROWS]
        if self.tiled:
            across, down = self[TILE_WIDTH], self[TILE_HEIGHT]
            for side, image in ((across, width), (down, height)):
                most = max(LARGEST_SMALL_TILE, -(-image // 16) * 16)
                if side > most:
                    raise ImageError(
                        f"has tiles of {across}x{down} pixels in an image of {width}x{height}; the "
                        f"limit is {most} a side. Save it again"
                    )
        pieces = -(-width // max(1, across)) * -(-height // max(1, down))
        return pieces * (self[SAMPLES] if self[PLANES] == 2 else 1)

    def _raw_sizes(self, count: int) -> list[int]:
        """Return the bytes of strips or tiles that are not compressed; some files state others."""
        samples = 1 if self[PLANES] == 2 else self[SAMPLES]
        if self.tiled:
            return [(self[TILE_WIDTH] * self[BITS] * samples + 7) // 8 * self[TILE_HEIGHT]] * count
        row = (self[WIDTH] * self[BITS] * samples + 7) // 8
        height, most = self[HEIGHT], max(1, min(self[STRIP_ROWS], self[HEIGHT]))
        plane = -(-height // most)
        return [row * min(most, height - index % plane * most) for index in range(count)]

    def values(self, file: BinaryIO, *numbers: int) -> list[int]:
        """Return all values of the first of some tags that is there, none where none is."""
        tag = next((self.tags[number] for number in numbers if number in self.tags), None)
        if tag is None or tag.count == 1:
            return [tag.value] if tag else []
        size = struct.calcsize(_NUMBERS[tag.kind])
        file.seek(tag.place)
        data = file.read(tag.count * size)
        count = len(data) // size
        return list(struct.unpack_from(f"{self.order}{count}{_NUMBERS[tag.kind]}", data))

    def run(self) -> tuple[int, int]:
        """Return where the page's pixels are, first byte and count, if in one run; else 0, 0.

        ``check_pieces`` must have been called; a page that is compressed or tiled has none.
        """
        ends = [start + size for start, size in self._pieces]
        starts = [start for start, _ in self._pieces]
        if self.tiled or self[COMPRESSION] != 1 or not starts or starts[1:] != ends[:-1]:
            return 0, 0
        return starts[0], ends[-1] - starts[0]

    def text(self, file: BinaryIO, number: int) -> str:
        """Return a tag of text as far as the first MiB, "" where it has none."""
        tag = self.tags.get(number)
        if tag is None or tag.kind != _TEXT or tag.place >= 1 << 62:
            return ""
        file.seek(tag.place)
        return file.read(min(tag.count, _LONGEST_TEXT)).decode("utf-8", "replace").rstrip("\0")

    def ratio(self, file: BinaryIO, number: int) -> float:
        """Return a tag of one fraction; 0 where it has none."""
        tag = self.tags.get(number)
        if tag is None or tag.kind != _RATIONAL or tag.place >= 1 << 62:
            return 0.0
        file.seek(tag.place)
        data = file.read(8)
        over, under = struct.unpack(self.order + "II", data) if len(data) == 8 else (0, 0)
        return over / under if under else 0.0

    @property
    def pieces(self) -> int:
        """Return how many strips or tiles ``check_pieces`` has found."""
        return len(self._pieces)

    def alone(self, file: BinaryIO, changes: dict[int, int], chosen: slice | None = None) -> bytes:
        """Return a grey page as a TIFF of its own, with some tags changed and no orientation.

        It has the ``chosen`` strips or tiles, all by default.
        """
        found = self._pieces[chosen or slice(None)]
        sizes = [size for _, size in found]
        if not sizes:
            raise ImageError(DAMAGED)
        most = min(MAX_BYTES, file.seek(0, os.SEEK_END))
        if sum(sizes) > most:
            raise ImageError(
                f"has strips or tiles of {sum(sizes)} bytes; the limit is {most}. Save it again"
            )
        pieces = []
        for place, size in found:
            file.seek(place)
            pieces.append(file.read(size))
        tags = {number: self[number] for number in _OF_GREY if number in self.tags} | changes
        end = 8 + 2 + 12 * (len(tags) + 2) + 4
        begin = end + 2 * 4 * len(pieces)
        starts = list(accumulate(sizes[:-1], initial=begin))
        lists = {number: [value] for number, value in tags.items()}
        lists |= {TILE_OFFSETS: starts, TILE_SIZES: sizes} if self.tiled else {
            STRIP_OFFSETS: starts, STRIP_SIZES: sizes,
        }  # fmt: skip
        arrays = b""
        directory = struct.pack(self.order + "H", len(lists))
        for number, values in sorted(lists.items()):
            value = values[0]
            if len(values) > 1:
                value = end + len(arrays)
                arrays += struct.pack(f"{self.order}{len(values)}I", *values)
            directory += struct.pack(self.order + "HHII", number, 4, len(values), value)
        head = (b"II*\0" if self.order == "<" else b"MM\0*") + struct.pack(self.order + "I", 8)
        return (head + directory + bytes(4) + arrays).ljust(begin, b"\0") + b"".join(pieces)


def read_number(file: BinaryIO, place: int, kind: struct.Struct) -> int:
    """Return the number at a place of a file; 0 where the file ends before it."""
    if place >= 1 << 62:
        return 0  # no file is as long, and no system seeks there
    file.seek(place)
    data = file.read(kind.size)
    return int(kind.unpack(data)[0]) if len(data) == kind.size else 0


_DEFAULTS = {BITS: 1, COMPRESSION: 1, SAMPLES: 1, PLANES: 1, PREDICTOR: 1, SAMPLE_FORMAT: 1,
             ORIENTATION: 1, STRIP_ROWS: (1 << 32) - 1}  # fmt: skip


def read_directory(file: BinaryIO) -> Directory | None:
    """Return the first directory of a TIFF, None where it is not a TIFF; the place is kept.

    ImageError where it promises more than its image needs, or less.
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
        directory.check_pieces(file)
        return directory
    finally:
        file.seek(start)


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
        elif name in _OF_LENGTHS:
            tags[name] = Tag(kind, many, 0, at)
    if promised > 2 * size:
        raise ImageError(
            f"has tags of {promised} bytes in a file of {size}; at most twice as many are "
            "expected. Save it again"
        )
    return tags
