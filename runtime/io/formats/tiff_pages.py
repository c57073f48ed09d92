"""Count the pages of a TIFF, and read the file as though one of them came first.

The pages are a chain of directories (IFD), each with the place of the next. The chain is walked
here, not by Pillow: bounded, without reading a tag, and straight to the requested page.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from foveate.runtime.errors import ImageError

SUFFIXES = (".tif", ".tiff")
MAX_PAGES = 10_000

_CHAIN = "is damaged: its chain of pages"


class _Layout:
    """Where the numbers of the chain are, and how they are written."""

    def __init__(self, order: str, big: bool) -> None:
        self.first_at, self.entry_size = (8, 20) if big else (4, 12)
        self.count = struct.Struct(order + ("Q" if big else "H"))
        self.offset = struct.Struct(order + ("Q" if big else "I"))


_LAYOUTS = {
    b"II*\0": _Layout("<", False),
    b"MM\0*": _Layout(">", False),
    b"II+\0": _Layout("<", True),
    b"MM\0+": _Layout(">", True),
}


def page_count(path: Path) -> int:
    """Return how many pages a file has; 1 as well where it is not a TIFF or cannot be counted.

    What is wrong with such a file is said when it is read.
    """
    try:
        if not os.path.isfile(path):
            return 1
        with io.FileIO(path) as file:
            return count_pages(file)
    except (OSError, ImageError):
        return 1


def count_pages(file: BinaryIO) -> int:
    """Return how many pages an open file has; ImageError when the chain breaks or is endless."""
    return max(1, sum(1 for _ in _page_offsets(file)))


def open_page(raw: io.FileIO, path: Path, page: int) -> PageFile:
    """Return a TIFF as though page ``page`` (from 1) came first; ImageError if it has none."""
    status = os.fstat(raw.fileno())
    return _opened(raw, _chain(str(path), status.st_mtime_ns, status.st_size), page)


def open_page_in_memory(raw: io.BytesIO, page: int) -> PageFile:
    """Return a TIFF that is in memory as though page ``page`` (from 1) came first."""
    return _opened(raw, tuple(_page_offsets(raw)), page)


def _opened(raw: io.FileIO | io.BytesIO, offsets: Sequence[int], page: int) -> PageFile:
    if page > len(offsets):
        raise ImageError("is not there: the file has fewer pages, or is not a TIFF")
    raw.seek(0)
    layout = _LAYOUTS[raw.read(4)]
    raw.seek(0)
    return PageFile(raw, {layout.first_at: layout.offset.pack(offsets[page - 1])})


@lru_cache(16)
def _chain(path: str, modified_ns: int, size: int) -> tuple[int, ...]:
    """Return where every page of a file begins, walked once for all pages of a stack."""
    with open(path, "rb") as file:
        return tuple(_page_offsets(file))


class PageFile(io.BufferedReader):
    """A file that reads as though some bytes of it, ``patches`` by their places, were others."""

    def __init__(self, raw: io.FileIO | io.BytesIO, patches: dict[int, bytes]) -> None:
        super().__init__(cast("io.RawIOBase", raw))
        self.patches = patches

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        return patched(super().read(-1 if size is None else size), self.patches, start)


def patched(data: bytes, patches: Mapping[int, bytes], start: int = 0) -> bytes:
    """Return the bytes of a file from ``start`` on with others at the places of the patches."""
    for place, patch in patches.items():
        if start < place + len(patch) and place < start + len(data):
            first, last = max(place, start), min(place + len(patch), start + len(data))
            new = patch[first - place : last - place]
            data = data[: first - start] + new + data[last - start :]
    return data


def _page_offsets(file: BinaryIO) -> Iterator[int]:
    """Yield where the directory of every page begins; ImageError at a broken chain."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    layout = _LAYOUTS.get(file.read(4))
    if layout is None:
        return
    offset = read_number(file, layout.first_at, layout.offset)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageError(f"{_CHAIN} is a circle after page {len(seen)}. Write it again")
        if len(seen) == MAX_PAGES:
            raise ImageError(f"has more than {MAX_PAGES} pages; that is the limit. Split it")
        seen.add(offset)
        entries = read_number(file, offset, layout.count)
        link = offset + layout.count.size + entries * layout.entry_size
        if link + layout.offset.size > size:
            raise ImageError(f"{_CHAIN} leaves the file at page {len(seen)}. Copy it again")
        yield offset
        offset = read_number(file, link, layout.offset)


def read_number(file: BinaryIO, place: int, kind: struct.Struct) -> int:
    """Return the number at a place of a file; 0 where the file ends before it."""
    if place >= 1 << 62:
        return 0  # no file is as long, and no system seeks there
    file.seek(place)
    data = file.read(kind.size)
    return int(kind.unpack(data)[0]) if len(data) == kind.size else 0
