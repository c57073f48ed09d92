"""Check the segments and scans of a JPEG, and leave out its tags and what comes after it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.limits import (
    CUT,
    DAMAGED,
    MAX_FILL,
    MAX_PARTS,
    MAX_SCAN_FILL,
    MAX_SCANS,
    SCAN_PIXELS,
    SCANS_OF_ANY,
)

JPEG_START = b"\xff\xd8\xff"
_LONG_FILL = b"\xff" * MAX_SCAN_FILL
_FIRST_BLOCK, _BLOCK = 1 << 14, 1 << 17
_END = 0xD9FF
"""The end mark, read as a little-endian number."""
_FILL = re.compile(rb"\xff+")
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_EXIF = b"Exif\0\0"
_TAGS = (*range(0xE0, 0xF0), 0xFE)
_COLOURED_BY = {(0xE0, b"JFIF\0"): 14, (0xEE, b"Adobe"): 12}
"""Tags that say what the colours are -> their least length; all others change no pixel."""
_ALONE = (0x01, *range(0xD0, 0xD9))
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_LOOKAHEAD = b"\xfe" * 8
"""What libjpeg reads ahead of the last code of a scan; long codes, so that no block fits in."""
_ENDS_SCAN = np.array([byte not in (0, 0xFF, *range(0xD0, 0xD8)) for byte in range(256)])
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2


@dataclass(frozen=True)
class JpegStart:
    """What a JPEG says before its first scan: size as stored, components, their bits, EXIF data."""

    height: int
    width: int
    components: int
    bits: int
    exif: bytes


@dataclass
class _Jpeg:
    """What the markers of a JPEG say up to a place in it."""

    place: int = 2
    parts: int = 0
    fill: int = 0
    frame: int = 0
    height: int = 0
    width: int = 0
    components: int = 0
    bits: int = 0
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
        self.frame, self.bits, self.components = marker, content[0], content[5]
        self.height, self.width = height, width
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
        most = max(SCANS_OF_ANY, min(MAX_SCANS, SCAN_PIXELS // max(1, self.height * self.width)))
        if self.scans > most:
            raise ImageError(
                f"has over {most} scans; that is the limit for its size. Save it again"
            )
        band = slice(first, min(last, 63) + 1)
        for name in names:
            if name in self.missing:
                sent = self.missing[name]
                sent[band] = [low & 15] * len(sent[band])
        bits = 2 if self.frame in _SEQUENTIAL else 1 if first == 0 else 0
        if self.frame not in (*_SEQUENTIAL, _PROGRESSIVE):
            bits = 0  # arithmetic codes take less than a bit
        return bits * sum(self.blocks.get(name, 0) for name in names)


def jpeg_start(data: bytes) -> JpegStart | None:
    """Return what the segments before the first scan say; None where ``data`` ends before it.

    ImageError where they are over the limits.
    """
    walk, exif = _Jpeg(), b""
    while (marker := walk.next_marker(data)) not in (-1, _EOI, _SOS):
        if not marker or marker in _ALONE:
            continue
        content = walk.segment(data)
        if content is None:
            return None
        if marker in _FRAMES:
            walk.take_frame(marker, content)
        elif marker == _APP1 and content.startswith(_EXIF):
            exif += content[len(_EXIF) :]
    if marker != _SOS:
        return None
    return JpegStart(walk.height, walk.width, walk.components, walk.bits, exif)


def jpeg_pixels(data: bytes) -> bytes:
    """Return a JPEG as far as its end mark, without tags. ImageError over the limits or cut.

    A block takes two bits at least in a sequential scan, one in the first scan of a progressive
    one: a scan of fewer bytes is cut. Of a single sequential scan the end mark is taken away, since
    libjpeg fills up with grey what ends in a marker; without one Pillow misses the bytes.
    """
    walk, tags = _Jpeg(), []
    before = walk.place
    while (marker := walk.next_marker(data)) != _EOI:
        if marker in (-1, _SOI):  # another picture, before the end of this
            raise ImageError(CUT)
        if not marker or marker in _ALONE:
            continue
        content = walk.segment(data)
        if content is None:
            raise ImageError(CUT)
        if marker in _FRAMES:
            walk.take_frame(marker, content)
        elif marker == _SOS:
            _take_scan(walk, data, content)
        elif marker in _TAGS and len(content) < _COLOURED_BY.get((marker, content[:5]), 1 << 16):
            tags.append((before, walk.place))
        before = walk.place
    if (
        not walk.scans
        or walk.frame == _PROGRESSIVE
        and any(any(bits for bits in sent) for sent in walk.missing.values())
    ):
        raise ImageError(CUT)
    alone = walk.frame in _SEQUENTIAL and walk.scans == 1
    tags.append((walk.place - 2 if alone else walk.place, 0))
    whole, kept, start = memoryview(data), [], 0
    for stop, following in tags:
        kept.append(whole[start:stop])
        start = following
    return b"".join([*kept, _LOOKAHEAD * alone])


def _take_scan(walk: _Jpeg, data: bytes, content: bytes) -> None:
    """Go behind a scan; ImageError where it is cut or filled up."""
    bits, start = walk.take_scan(content), walk.place
    whole = walk.frame in _SEQUENTIAL and content[0] == walk.components
    end = _first_end(data, start) if whole else None  # libjpeg takes no other scan then
    walk.place = _scan_end(data, start) if end is None else end
    if data.find(_LONG_FILL, start, walk.place) >= 0:
        raise ImageError(
            f"has over {len(_LONG_FILL)} fill bytes in a scan; that is the limit. Save it again"
        )
    if 8 * (walk.place - start) < bits:
        raise ImageError(CUT)


def _first_end(data: bytes, place: int) -> int | None:
    """Return where the first end mark from a place on is; ``bytes.find`` takes far longer."""
    found = []
    for start in range(place, min(place + 2, len(data) - 1)):
        is_end = np.frombuffer(data, "<u2", (len(data) - start) // 2, start) == _END
        first = int(is_end.argmax())
        if is_end[first]:
            found.append(start + 2 * first)
    return min(found, default=None)


def _scan_end(data: bytes, place: int) -> int:
    """Return where the marker after a scan is, the end of ``data`` where there is none."""
    size = _FIRST_BLOCK
    while place < len(data) - 1:
        block = np.frombuffer(data, np.uint8, min(size + 1, len(data) - place), place)
        at = np.flatnonzero((block[:-1] == 0xFF) & (block[1:] != 0))
        ends = at[_ENDS_SCAN[block[at + 1]]]
        if ends.size:
            return place + int(ends[0])
        place, size = place + len(block) - 1, min(2 * size, _BLOCK)
    return len(data)
