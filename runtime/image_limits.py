"""Check the structure of PNG and JPEG files within stated limits, before any decoder sees them.

A decoder does what a file tells it to: a few hundred kilobytes can keep it busy for hours. The
limits here are far above what encoders write; docs/errors.md lists them in one table. TIFF has its
own check in ``tiff_directory``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from foveate.runtime.errors import ImageError

CUT = "is cut short: its end is missing. Copy it again"
DAMAGED = "is damaged: its header is sound, its pixels cannot be decoded"

MAX_SIDE = 32_768
MAX_PIXELS = 1 << 29
"""Largest image read: 536 million pixels, so that a bomb is refused before it is decoded."""
MAX_PARTS = 10_000
"""Chunks of a PNG, one more per KB of the file; segments of a JPEG outside its scans."""
MAX_PROFILES = 8
"""Colour profiles of a PNG, which may have one; Pillow inflates a megabyte of each."""
MAX_FILL = 1 << 16
"""Bytes between the segments of a JPEG; Pillow reads them one at a time."""
MAX_SCANS, SCANS_OF_ANY = 100, 16
SCAN_PIXELS = MAX_SCANS << 24
"""Scans of a JPEG: libtiff's own limit; fewer over 16 megapixels. Encoders write up to 12."""
MAX_INFLATION = 1032
"""Deflate cannot make one byte into more."""

_HEAD, _BLOCK = 1 << 16, 1 << 17
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
           (1, 0, 2, 1))  # fmt: skip
_FILL = re.compile(rb"\xff+")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = (0x01, *range(0xD0, 0xD9))
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_LOOKAHEAD = b"\xfe" * 8
"""What libjpeg reads ahead of the last code of a scan; long codes, so that no block fits in."""
_ENDS_SCAN = np.array([byte not in (0, 0xFF, *range(0xD0, 0xD8)) for byte in range(256)])
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2


def check_start(file: BinaryIO) -> None:
    """Check what comes before the pixels of a PNG or JPEG; the place in the file is kept."""
    start = file.tell()
    data = file.read(_HEAD)
    for magic, check in ((_PNG, _check_png_start), (b"\xff\xd8\xff", _check_jpeg_start)):
        if data.startswith(magic) and not check(data):
            check(data + file.read())
    file.seek(start)


def png_pixels(data: bytes) -> bytes:
    """Return a PNG without the chunks that do not change pixels; ImageError over the limits.

    A decoder would inflate compressed text, and OpenCV applies a gamma to colours alone.
    """
    if data.rfind(b"IEND\xaeB`\x82") < 0:
        raise ImageError(CUT)
    kept, packed, others, end = [data[:8]], 0, False, 0
    for kind, place, end in _chunks(data):
        if kind not in _PIXEL_CHUNKS:
            others = True
            continue
        kept.append(memoryview(data)[place - 8 : end])
        packed += (end - place - 4) * (kind == b"IDAT")
    if kind != b"IEND" or end > len(data):
        raise ImageError(DAMAGED)
    raw = _raw_size(data)
    if raw > packed * MAX_INFLATION:
        raise ImageError(DAMAGED)
    most = raw + raw // 4 + (1 << 16)
    if packed > most:
        raise ImageError(
            f"has {packed} bytes of compressed pixels; the limit for its size is {most}. "
            "Save it again"
        )
    return b"".join(kept) if others else data


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place of the content and end of every chunk as far as ``data`` reaches."""
    place, most = 8, MAX_PARTS + (len(data) >> 10)
    for _ in range(most):
        if place + 12 > len(data):
            return
        kind = data[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield kind, place + 8, end
        if kind == b"IEND":
            return
        place = end
    raise ImageError(f"has more than {most} chunks; that is the limit. Save it again")


def _check_png_start(data: bytes) -> bool:
    """Check the chunks before the pixels; False where ``data`` does not reach as far."""
    profiles = 0
    for kind, _, _ in _chunks(data):
        if kind in (b"IDAT", b"IEND"):
            return True
        profiles += kind == b"iCCP"
        if profiles > MAX_PROFILES:
            raise ImageError(
                f"has over {MAX_PROFILES} colour profiles; that is the limit. Save it again"
            )
    return False


def _raw_size(data: bytes) -> int:
    """Return how many bytes the pixels of a PNG have, inflated: a filter byte begins each row."""
    width, height = (int.from_bytes(data[place : place + 4], "big") for place in (16, 20))
    bits = data[24] * _CHANNELS.get(data[25], 4)
    passes = _PASSES if data[28] else ((0, 0, 1, 1),)
    sizes = ((-(-(height - row) // down), -(-(width - column) // right))
             for row, column, down, right in passes)  # fmt: skip
    return sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in sizes if columns > 0)


@dataclass
class _Jpeg:
    """What the markers of a JPEG say up to a place in it."""

    place: int = 2
    parts: int = 0
    fill: int = 0
    frame: int = 0
    pixels: int = 0
    blocks: dict[int, int] = field(default_factory=dict)
    missing: dict[int, list[int]] = field(default_factory=dict)
    scans: int = 0

    def next_marker(self, data: bytes) -> int:
        """Return the next marker and go behind it; -1 where ``data`` ends before it."""
        start = data.find(b"\xff", self.place)
        found = _FILL.match(data, start) if start >= 0 else None
        if found is None or found.end() >= len(data):
            return -1
        self.fill += found.end() - 1 - self.place
        self.parts += 1
        self.place = found.end() + 1
        if self.fill > MAX_FILL:
            raise ImageError(
                f"has over {MAX_FILL} bytes between its segments; that is the limit. Save it again"
            )
        if self.parts > MAX_PARTS:
            raise ImageError(f"has over {MAX_PARTS} segments; that is the limit. Save it again")
        return data[found.end()]

    def segment(self, data: bytes) -> bytes | None:
        """Return the content of a segment and go behind it; None where ``data`` ends in it."""
        size = int.from_bytes(data[self.place : self.place + 2], "big")
        if self.place + max(size, 2) > len(data):
            return None
        if size < 2:
            raise ImageError(DAMAGED)
        content = data[self.place + 2 : self.place + size]
        self.place += size
        return content

    def take_frame(self, marker: int, content: bytes) -> None:
        """Note the size of a frame and the blocks of each of its components."""
        if len(content) < 6 or len(content) < 6 + 3 * content[5]:
            raise ImageError(DAMAGED)
        height, width = (int.from_bytes(content[place : place + 2], "big") for place in (1, 3))
        parts = [content[place : place + 3] for place in range(6, 6 + 3 * content[5], 3)]
        across, down = (max((part[1] >> shift & 15 for part in parts), default=1) or 1
                        for shift in (4, 0))  # fmt: skip
        self.frame, self.pixels = marker, height * width
        for name, sampling, _ in parts:
            rows = -(-height * (sampling & 15) // (8 * down))
            columns = -(-width * (sampling >> 4) // (8 * across))
            self.blocks[name] = rows * columns
            self.missing[name] = [-1] * 64

    def take_scan(self, content: bytes) -> int:
        """Note a scan; return how many bits it has at least."""
        count = content[0] if content else 0
        if len(content) < 4 + 2 * count:
            raise ImageError(DAMAGED)
        names = content[1 : 1 + 2 * count : 2]
        first, last, low = content[1 + 2 * count], content[2 + 2 * count], content[3 + 2 * count]
        self.scans += 1
        most = max(SCANS_OF_ANY, min(MAX_SCANS, SCAN_PIXELS // max(1, self.pixels)))
        if self.scans > most:
            raise ImageError(
                f"has over {most} scans; that is the limit for its size. Save it again"
            )
        for name in names:
            if name in self.missing:
                band = range(first, min(last, 63) + 1)
                for index in band:
                    self.missing[name][index] = low & 15
        bits = 2 if self.frame in _SEQUENTIAL else 1 if first == 0 else 0
        if self.frame not in (*_SEQUENTIAL, _PROGRESSIVE):
            bits = 0  # arithmetic codes take less than a bit
        return bits * sum(self.blocks.get(name, 0) for name in names)


def _check_jpeg_start(data: bytes) -> bool:
    """Check the segments before the first scan; False where ``data`` does not reach as far."""
    walk = _Jpeg()
    while (marker := walk.next_marker(data)) not in (-1, _EOI, _SOS):
        if marker and marker not in _ALONE and walk.segment(data) is None:
            return False
    return marker != -1


def jpeg_pixels(data: bytes) -> bytes:
    """Return a JPEG as far as its end mark; ImageError over the limits or where scans are missing.

    A block takes two bits at least in a sequential scan, one in the first scan of a progressive
    one: a scan of fewer bytes is cut. Of a single sequential scan the end mark is taken away, since
    libjpeg fills up with grey what ends in a marker; without one Pillow says that bytes are missing.
    """
    walk = _Jpeg()
    while (marker := walk.next_marker(data)) != _EOI:
        if marker == -1:
            raise ImageError(CUT)
        if not marker or marker in _ALONE:
            continue
        content = walk.segment(data)
        if content is None:
            raise ImageError(CUT)
        if marker in _FRAMES:
            walk.take_frame(marker, content)
        elif marker == _SOS:
            bits, start = walk.take_scan(content), walk.place
            walk.place = _scan_end(data, start)
            if 8 * (walk.place - start) < bits:
                raise ImageError(CUT)
    if (
        not walk.scans
        or walk.frame == _PROGRESSIVE
        and any(any(bits for bits in sent) for sent in walk.missing.values())
    ):
        raise ImageError(CUT)
    if walk.frame in _SEQUENTIAL and walk.scans == 1:
        return data[: walk.place - 2] + _LOOKAHEAD
    return data[: walk.place]


def _scan_end(data: bytes, place: int) -> int:
    """Return where the marker after a scan is, the end of ``data`` where there is none."""
    for start in range(place, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8, min(_BLOCK + 1, len(data) - start), start)
        at = np.flatnonzero((block[:-1] == 0xFF) & (block[1:] != 0))
        ends = at[_ENDS_SCAN[block[at + 1]]]
        if ends.size:
            return start + int(ends[0])
    return len(data)
