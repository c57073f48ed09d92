"""Files of every format, and seeded ways to spoil them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from foveate.runtime.engines.base import Pixels
from tests.soak.folders import spot

Rng = np.random.Generator
PNG = b"\x89PNG\r\n\x1a\n"
SPOTS = np.array([0, 1, 127, 128, 254, 255], np.uint8)
"""Bytes that are at the edge of something."""


def specimens(rng: Rng) -> dict[str, tuple[str, bytes]]:
    """Return sound files as suffix and content, by the name of their kind."""
    grey = spot(int(rng.integers(40, 90)), rng)
    deep = grey.astype(np.uint16) * 257
    colour = np.dstack([grey] * 3).astype(np.uint8)
    picture, rgb = Image.fromarray(grey), Image.fromarray(colour)
    pages = [Image.fromarray(spot(48, rng)) for _ in range(2)]
    many = {"save_all": True, "append_images": pages}
    return {
        "png 8 bit": (".png", _saved(picture, "PNG")),
        "png 16 bit": (".png", _saved(Image.fromarray(deep), "PNG")),
        "png rgb": (".png", _saved(rgb, "PNG")),
        "png palette": (".png", _saved(rgb.quantize(16), "PNG")),
        "png 1 bit": (".png", _saved(picture.point(lambda v: 255 * (v > 99)).convert("1"), "PNG")),
        "png interlaced": (".png", _interlaced(grey)),
        "jpeg": (".jpg", _saved(picture, "JPEG", quality=90)),
        "jpeg colour": (".jpg", _saved(rgb, "JPEG", quality=80)),
        "jpeg progressive": (".jpg", _saved(rgb, "JPEG", progressive=True)),
        "tiff plain": (".tif", _saved(picture, "TIFF")),
        "tiff 16 bit": (".tif", _saved(Image.fromarray(deep), "TIFF")),
        "tiff deflate": (".tif", _saved(rgb, "TIFF", compression="tiff_adobe_deflate")),
        "tiff lzw": (".tif", _saved(picture, "TIFF", compression="tiff_lzw")),
        "tiff rgb 16 bit": (".tif", _deep_tiff(colour, 5)),
        "tiff rgb 16 bit plain": (".tif", _deep_tiff(colour, 1)),
        "tiff pages": (".tif", _saved(picture, "TIFF", **many)),
        "tiff pages deflate": (".tif", _saved(picture, "TIFF", compression="tiff_deflate", **many)),
        "bmp": (".bmp", _saved(picture, "BMP")),
        "bmp rgb": (".bmp", _saved(rgb, "BMP")),
        "webp": (".webp", _saved(rgb, "WEBP", quality=80)),
        "webp lossless": (".webp", _saved(rgb, "WEBP", lossless=True)),
    }


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _deep_tiff(colour: Pixels, compression: int) -> bytes:
    """Return a TIFF of 16-bit colour; compression 1 is none, 5 is LZW."""
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    done, data = cv2.imencode(".tif", colour.astype(np.uint16) * 257, flags)
    assert done
    return data.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _interlaced(grey: Pixels) -> bytes:
    """Return an interlaced PNG: seven passes, as the standard orders them."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1))  # fmt: skip
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, right in starts
        for row in grey[top::down, left::right]
        if row.size
    )

    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return PNG + body


def sealed(data: bytes) -> bytes:
    """Return a PNG whose chunks have sums that fit, so that the damage within reaches the decoder.

    Other files, and what is no whole chunk, stay as they are.
    """
    if not data.startswith(PNG):
        return data
    result, place = bytearray(data), len(PNG)
    while place + 12 <= len(result):
        end = place + 8 + int.from_bytes(result[place : place + 4], "big")
        if end + 4 > len(result):
            break
        result[end : end + 4] = zlib.crc32(result[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(result)


def flip_bits(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Turn one to sixteen bits over."""
    changed = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(0, len(changed), rng.integers(1, 17)):
        changed[place] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def overwrite(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Replace a run of bytes by noise or by one byte again and again."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 65))
    if rng.integers(2):
        run = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    else:
        run = bytes([rng.choice(SPOTS)]) * length
    return (data[:start] + run + data[start + length :])[: len(data)]


def truncate(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Cut the end off; a few bytes, or nearly all."""
    most = 12 if rng.integers(2) else len(data)
    return data[: len(data) - int(rng.integers(1, most))]


def cut_out(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Leave some bytes out, or have some twice."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 33))
    if rng.integers(2):
        return data[:start] + data[start + length :]
    return data[: start + length] + data[start:]


def swap(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Exchange two pieces of the file."""
    first, second, third, fourth = sorted(rng.integers(0, len(data) + 1, 4).tolist())
    middle = data[second:third]
    return data[:first] + data[third:fourth] + middle + data[first:second] + data[fourth:]


def header_field(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Put a number at the edge of its type among the first bytes, in either byte order."""
    size = int(rng.choice([1, 2, 4]))
    largest = 1 << 8 * size
    values = (0, 1, 2, largest - 1, largest // 2, largest // 2 - 1, int(rng.integers(largest)))
    number = int(rng.choice(values))
    place = int(rng.integers(min(len(data), 160)))
    field = number.to_bytes(size, "big" if rng.integers(2) else "little")
    return data[:place] + field + data[place + size :]


def tail_field(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Change bytes among the last: there a TIFF may have its tags."""
    place = len(data) - int(rng.integers(1, min(len(data), 240)))
    return data[:place] + bytes([rng.choice(SPOTS)]) + data[place + 1 :]


def splice(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Join the start of one file and the end of another, of any format."""
    return data[: int(rng.integers(1, len(data)))] + other[int(rng.integers(len(other))) :]


def append(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Put another file, or a piece of it, behind the end."""
    return data + other[: int(rng.integers(1, len(other) + 1))]


MUTATIONS: tuple[Callable[[bytes, bytes, Rng], bytes], ...] = (
    flip_bits, overwrite, truncate, cut_out, swap, header_field, header_field, tail_field, splice,
    append,
)  # fmt: skip


def mutant(number: int, seed: int) -> tuple[str, str, bytes]:
    """Return suffix, description and content of a spoilt file, the same for the same numbers."""
    rng = np.random.default_rng((seed, number))
    files = specimens(rng)
    kinds = list(files)
    kind = kinds[number % len(kinds)]
    suffix, data = files[kind]
    other = files[kinds[int(rng.integers(len(kinds)))]][1]
    done = []
    for _ in range(1 + int(rng.integers(3) == 0)):
        change = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        data = change(data, other, rng) or b"\0"
        done.append(change.__name__)
    if rng.integers(2):
        data = sealed(data)
    return suffix, f"{kind}, {' and '.join(done)}", data
