"""TIFF files written by hand: no library writes all of these."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Tags = Mapping[int, int | bytes | list[int]]
_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff_file(
    pages: Sequence[tuple[npt.NDArray[Any], Tags]], order: str = "<", strips: int = 1
) -> bytes:
    """Return a TIFF of uncompressed grey pages, each of so many strips, with tags of its own.

    Bytes as a value are ASCII; None leaves a tag out.
    """
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for pixels, more in pages:
        height, width = pixels.shape
        rows = height // strips
        raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        size = len(raw) // strips
        starts = [len(data) + size * index for index in range(strips)]
        data += raw
        tags: dict[int, Any] = {
            256: width, 257: height, 258: 8 * pixels.dtype.itemsize, 259: 1, 262: 1,
            273: starts, 277: 1, 278: rows, 279: [size] * strips,
            339: _FORMATS[pixels.dtype.kind],
        } | dict(more)  # fmt: skip
        entries = []
        for number, value in sorted(tags.items()):
            kind = 2 if isinstance(value, bytes) else 4
            values = value if isinstance(value, bytes | list) else [value]
            body = bytes(values) if kind == 2 else struct.pack(f"{order}{len(values)}I", *values)
            if len(body) > 4:
                place = len(data)
                data += body
                body = struct.pack(order + "I", place)
            entries.append(
                struct.pack(order + "HHI", number, kind, len(values)) + body.ljust(4, b"\0")
            )
        struct.pack_into(order + "I", data, link, len(data))
        data += struct.pack(order + "H", len(entries)) + b"".join(entries)
        link = len(data)
        data += bytes(4)
    return bytes(data)


def imagej(planes: npt.NDArray[Any], stated: int = 0, order: str = "<") -> bytes:
    """Return what ImageJ writes of a large stack: a directory, its texts, then all planes."""
    count, height, width = planes.shape
    text = f"ImageJ=1.54f\nimages={stated or count}\nslices={count}\nunit=micron\n\0".encode()
    number = {256: width, 257: height, 258: 8 * planes.itemsize, 259: 1, 262: 1, 277: 1,
              278: height, 279: height * width * planes.itemsize, 296: 1}  # fmt: skip
    end = 8 + 2 + 12 * (len(number) + 4) + 4
    fields = {tag: (4, 1, value) for tag, value in number.items()}
    fields |= {270: (2, len(text), end), 273: (4, 1, end + len(text) + 16)}
    fields |= {282: (5, 1, end + len(text)), 283: (5, 1, end + len(text) + 8)}
    entries = [struct.pack(order + "HHII", tag, *fields[tag]) for tag in sorted(fields)]
    return b"".join((
        b"II*\0" if order == "<" else b"MM\0*", struct.pack(order + "IH", 8, len(entries)),
        *entries, bytes(4), text, struct.pack(order + "IIII", 2, 1, 4, 1),
        planes.astype(planes.dtype.newbyteorder(order)).tobytes(), b"trailing",
    ))  # fmt: skip


def sampled_tiff(
    pixels: npt.NDArray[Any],
    order: str = "<",
    planes: int = 1,
    predictor: int = 1,
    tile: int = 0,
    more: Tags = {},  # noqa: B006  # never changed
) -> bytes:
    """Return a TIFF of (H, W, C) pixels, deflated, in strips of 20 rows or in square tiles."""
    height, width, count = pixels.shape
    across, down = (tile, tile) if tile else (width, 20)
    parts = [pixels] if planes == 1 else [pixels[:, :, c : c + 1] for c in range(count)]
    data, starts, sizes = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4)), [], []
    for part in parts:
        for top in range(0, height, down):
            for left in range(0, width, across):
                piece = part[top : top + down, left : left + across]
                if tile:
                    short = [(0, tile - side) for side in piece.shape[:2]]
                    piece = np.pad(piece, (*short, (0, 0)))
                if predictor == 2:
                    piece = np.diff(piece, axis=1, prepend=piece.dtype.type(0))
                packed = zlib.compress(piece.astype(piece.dtype.newbyteorder(order)).tobytes())
                starts.append(len(data))
                sizes.append(len(packed))
                data += packed
    tags: dict[int, Any] = {
        256: width, 257: height, 258: [8 * pixels.itemsize] * count, 259: 8, 262: 1, 277: count,
        284: planes, 317: predictor, 338: [0] * (count - 1),
    }  # fmt: skip
    tags |= {322: tile, 323: tile, 324: starts, 325: sizes} if tile else {
        273: starts, 278: 20, 279: sizes,
    }  # fmt: skip
    entries = b""
    for number, value in sorted({**tags, **more}.items()):
        values = value if isinstance(value, list) else [value]
        body = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            data += body
            body = struct.pack(order + "I", len(data) - len(body))
        entries += struct.pack(order + "HHI", number, 4, len(values)) + body.ljust(4, b"\0")
    struct.pack_into(order + "I", data, 4, len(data))
    return bytes(data) + struct.pack(order + "H", len(entries) // 12) + entries + bytes(4)
