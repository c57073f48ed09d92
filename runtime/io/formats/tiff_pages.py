"""Count the pages of a TIFF, and read the file as though one of them came first.

The pages are a chain of directories (IFD), each with the place of the next. The chain is walked
here, not by Pillow: bounded, without reading a tag, and straight to the requested page.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from foveate.runtime.errors import ImageError, PagesError

SUFFIXES = (".tif", ".tiff")
MAX_PAGES = 10_000

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _DESCRIPTION = 254, 255, 270
_REDUCED, _MASK, _REDUCED_OF_OLD = 1, 4, 2
_APERIO = b"Aperio "
_HEAD_TAGS = 32
"""Tags among which the description is; they are sorted by their numbers."""
_CHAIN = "is damaged: its chain of pages"


class _Layout:
    """Where the numbers of the chain are, and how they are written."""

    def __init__(self, order: str, big: bool) -> None:
        self.first_at, self.entry_size = (8, 20) if big else (4, 12)
        self.count = struct.Struct(order + ("Q" if big else "H"))
        self.offset = struct.Struct(order + ("Q" if big else "I"))
        self.tag = struct.Struct(order + "HH")
        self.fields = {3: struct.Struct(order + "H"), 4: struct.Struct(order + "I")}


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
            return max(1, len(_offsets(file)) - 1)
    except (OSError, ImageError):
        return 1


def open_page(raw: io.FileIO | io.BytesIO, page: int, path: Path | None = None) -> BinaryIO:
    """Return a TIFF as though page ``page`` (from 1) came first, where it does not.

    0 is the page of a file with a single one, or of a file that is not a TIFF. ``path`` is where
    the file is. ImageError if it has no such page, PagesError if it has several.
    """
    layout = _LAYOUTS.get(raw.read(4))
    if layout is None and not page:
        raw.seek(0)
        return raw
    first, *offsets = _offsets(raw) if path is None or not page else _chain(*_version(raw, path))
    raw.seek(0)
    if not page and len(offsets) > 1:
        raise PagesError(several(len(offsets)))
    if layout is None or page > len(offsets):
        raise ImageError("is not there: the file has fewer pages, or is not a TIFF")
    chosen = offsets[max(0, page - 1)] if offsets else first
    if chosen == first:
        return raw
    return PageFile(raw, {layout.first_at: layout.offset.pack(chosen)})


def several(pages: int) -> str:
    """Return what is said of a file of several pages, none of which was asked for."""
    return f"has {pages} pages; expected one. Save each page as its own file"


def _version(raw: io.FileIO | io.BytesIO, path: Path) -> tuple[str, int, int]:
    status = os.fstat(raw.fileno())
    return str(path), status.st_mtime_ns, status.st_size


@lru_cache(16)
def _chain(path: str, modified_ns: int, size: int) -> tuple[int, ...]:
    """Return the offsets of a file, walked once for all pages of a stack."""
    with open(path, "rb") as file:
        return _offsets(file)


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


def _offsets(file: BinaryIO) -> tuple[int, ...]:
    """Return where the first directory begins, then where each page does.

    ImageError at a broken chain.

    A reduced copy of another page, or a mask of its transparency, is not a page unless there is
    nothing else. A slide of Aperio, which marks none of its copies, is its first directory.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    layout = _LAYOUTS.get(file.read(4))
    if layout is None:
        return (0,)
    found: list[int] = []
    copies: list[int] = []
    first = offset = read_number(file, layout.first_at, layout.offset)
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
        (copies if _is_copy(file, offset, min(entries, 2), layout) else found).append(offset)
        offset = read_number(file, link, layout.offset)
    pages = found or copies[:1]
    if len(pages) > 1 and _is_aperio(file, pages[0], layout):
        pages = pages[:1]
    return (first, *pages)


def _is_copy(file: BinaryIO, offset: int, entries: int, layout: _Layout) -> bool:
    """Say whether one of a directory's first tags says that it is a reduced image or a mask."""
    for index in range(entries):
        number, value = _entry(file, offset, index, layout)
        if number == _NEW_SUBFILE_TYPE and value & (_REDUCED | _MASK):
            return True
        if number == _SUBFILE_TYPE and value == _REDUCED_OF_OLD:
            return True
    return False


def _is_aperio(file: BinaryIO, offset: int, layout: _Layout) -> bool:
    for index in range(min(_HEAD_TAGS, read_number(file, offset, layout.count))):
        number, value = _entry(file, offset, index, layout)
        if number == _DESCRIPTION and value < 1 << 62:
            file.seek(value)
            return file.read(len(_APERIO)) == _APERIO
    return False


def _entry(file: BinaryIO, offset: int, index: int, layout: _Layout) -> tuple[int, int]:
    """Return the number of a tag and its value, or where that is."""
    file.seek(offset + layout.count.size + index * layout.entry_size)
    data = file.read(layout.entry_size).ljust(layout.entry_size, b"\0")
    number, kind = layout.tag.unpack_from(data)
    field = layout.fields.get(kind, layout.offset)
    return number, field.unpack_from(data, layout.entry_size - layout.offset.size)[0]


def read_number(file: BinaryIO, place: int, kind: struct.Struct) -> int:
    """Return the number at a place of a file; 0 where the file ends before it."""
    if place >= 1 << 62:
        return 0  # no file is as long, and no system seeks there
    file.seek(place)
    data = file.read(kind.size)
    return int(kind.unpack(data)[0]) if len(data) == kind.size else 0
