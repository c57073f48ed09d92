"""Check the chunks of a PNG, and leave out those that do not change its pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.exif import exif_orientation
from foveate.runtime.io.formats.limits import CUT, DAMAGED, MAX_INFLATION, MAX_PARTS, MAX_PROFILES

PNG_START = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_FRAMES = 1 << 31
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
           (1, 0, 2, 1))  # fmt: skip


@dataclass(frozen=True)
class PngStart:
    """What a PNG says before its pixels: size as stored, bits, colour type, frames.

    ``exif`` and ``phys`` are the content of these chunks, empty where there is none.
    """

    width: int
    height: int
    bits: int
    colour: int
    exif: bytes
    phys: bytes
    frames: int


def png_pixels(data: bytes) -> bytes:
    """Return a PNG without the chunks that do not change pixels; ImageError over the limits.

    A decoder would inflate compressed text, and OpenCV applies a gamma to colours alone.
    """
    if data.rfind(b"IEND\xaeB`\x82") < 0:
        raise ImageError(CUT)
    whole = memoryview(data)
    kept, packed, others, kind, end = [whole[:8]], 0, False, b"", 0
    for kind, place, end in _chunks(data):
        if kind not in _PIXEL_CHUNKS:
            if kind == b"eXIf" and packed and exif_orientation(data[place : end - 4]) != 1:
                raise ImageError(
                    "has its EXIF orientation behind its pixels; expected it before them. Save it "
                    "again"
                )
            others = True
            continue
        kept.append(whole[place - 8 : end])
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


def png_start(data: bytes) -> PngStart | None:
    """Return what the chunks before the pixels say; None where ``data`` does not reach as far.

    ImageError where they are over the limits.
    """
    size, exif, phys, frames, profiles = b"", b"", b"", 1, 0
    for kind, place, end in _chunks(data):
        if not size and (kind != b"IHDR" or end != 33):
            return None
        content = data[place : end - 4]
        if kind == b"IHDR":
            size = content
        elif kind in (b"IDAT", b"IEND"):
            width, height, bits, colour = struct.unpack(">IIBB", size[:10])
            return PngStart(width, height, bits, colour, exif, phys, frames)
        elif kind == b"eXIf":
            exif = content
        elif kind == b"pHYs":
            phys = content
        elif kind == b"acTL":
            count = int.from_bytes(content[:4], "big")
            frames = count if count <= _MAX_FRAMES else 1
        profiles += kind == b"iCCP"
        if profiles > MAX_PROFILES:
            raise ImageError(
                f"has over {MAX_PROFILES} colour profiles; that is the limit. Save it again"
            )
    return None


def _raw_size(data: bytes) -> int:
    """Return how many bytes the pixels of a PNG have, inflated: a filter byte begins each row."""
    width, height = (int.from_bytes(data[place : place + 4], "big") for place in (16, 20))
    bits = data[24] * _CHANNELS.get(data[25], 4)
    passes = _PASSES if data[28] else ((0, 0, 1, 1),)
    sizes = ((-(-(height - row) // down), -(-(width - column) // right))
             for row, column, down, right in passes)  # fmt: skip
    return sum(rows * (1 + (columns * bits + 7) // 8) for rows, columns in sizes if columns > 0)
