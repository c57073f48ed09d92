"""TIFF files written by hand: no library writes all of these."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

Tags = Mapping[int, int | bytes]
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
