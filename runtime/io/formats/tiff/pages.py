"""Count the pages of a TIFF, and read the file as though one of them came first.

The pages are a chain of directories (IFD), each with the place of the next. The chain is walked
here, not by Pillow: bounded, almost without reading a tag, and straight to the requested page. A
stack of ImageJ may have one directory for all of its planes, which follow each other.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from foveate.runtime.errors import ImageError, PagesError
from foveate.runtime.io.formats.exif import SIDEWAYS
from foveate.runtime.io.formats.limits import MAX_BYTES
from foveate.runtime.io.formats.once_per_file import once_per_file
from foveate.runtime.io.formats.pixel_size import PixelSize, tiff_pixel_size
from foveate.runtime.io.formats.tiff.directory import (
    DESCRIPTION,
    ORIENTATION,
    RESOLUTION_UNIT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Directory,
    read_directory,
    read_number,
)

SUFFIXES = (".tif", ".tiff")
MAX_PAGES = 10_000

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED, _MASK, _REDUCED_OF_OLD = 1, 4, 2
_APERIO = b"Aperio "
_IMAGEJ = re.compile(rb"ImageJ=[^\n]*\nimages=(\d{1,9})\n")
_HEAD_TEXT = 256
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

    def head(self, block: bytes) -> list[tuple[int, int]]:
        """Return the tags of a block up to the description: numbers, and values or their places."""
        found = []
        for place in range(0, len(block), self.entry_size):
            number, kind = self.tag.unpack_from(block, place)
            if number > DESCRIPTION:
                break
            field = self.fields.get(kind, self.offset)
            value = field.unpack_from(block, place + self.entry_size - self.offset.size)[0]
            found.append((number, value))
        return found


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
            return max(1, len(page_offsets(file)))
    except (OSError, ImageError):
        return 1


def open_page(raw: io.FileIO | io.BytesIO, page: int) -> BinaryIO:
    """Return a TIFF as though page ``page`` (from 1) came first, where it does not.

    0 is the page of a file with a single one, or of a file that is not a TIFF. ImageError if it has
    no such page, PagesError if it has several.
    """
    layout = _LAYOUTS.get(raw.read(4))
    if layout is None and not page:
        raw.seek(0)
        return raw
    first, *offsets = _offsets_once(raw) if page else _offsets(raw)
    raw.seek(0)
    if not page and len(offsets) > 1:
        raise PagesError(several(len(offsets)))
    if layout is None or page > len(offsets):
        raise ImageError("is not there: the file has fewer pages, or is not a TIFF")
    chosen = offsets[max(0, page - 1)] if offsets else first
    if len(offsets) > 1 and offsets[0] == offsets[1]:
        return _plane(raw, page)
    if chosen == first:
        return raw
    return PageFile(raw, {layout.first_at: layout.offset.pack(chosen)})


def several(pages: int) -> str:
    """Return what is said of a file of several pages, none of which was asked for."""
    return f"has {pages} pages; expected one. Save each page as its own file"


def page_pixel_size(file: BinaryIO, directory: Directory) -> PixelSize | None:
    """Return the size of a page's pixels once it is upright; None where the file states none."""
    size = tiff_pixel_size(
        _description(file, directory),
        directory[RESOLUTION_UNIT],
        lambda: (directory.ratio(file, X_RESOLUTION), directory.ratio(file, Y_RESOLUTION)),
    )
    return size.transposed if size and directory[ORIENTATION] in SIDEWAYS else size


def _description(file: BinaryIO, directory: Directory) -> str:
    """Return the description of a TIFF page; that of the file's first page where it has none."""
    own = directory.text(file, DESCRIPTION)
    if own or not isinstance(file, PageFile):
        return own
    raw = cast("BinaryIO", file.raw)
    place = raw.tell()
    try:
        first = read_directory(raw)
        return first.text(raw, DESCRIPTION) if first else ""
    except ImageError:  # that page is damaged; this one need not be
        return ""
    finally:
        raw.seek(place)


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


def page_offsets(file: BinaryIO) -> tuple[int, ...]:
    """Return where each page of an open TIFF begins; ImageError at a broken chain."""
    return _offsets(file)[1:]


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
    texts: list[int] = []
    first = offset = read_number(file, layout.first_at, layout.offset)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise ImageError(f"{_CHAIN} is a circle after page {len(seen)}. Write it again")
        if len(seen) == MAX_PAGES:
            raise ImageError(f"has more than {MAX_PAGES} pages; that is the limit. Split it")
        seen.add(offset)
        entries = read_number(file, offset, layout.count)
        begin = offset + layout.count.size
        link = begin + entries * layout.entry_size
        if link + layout.offset.size > size:
            raise ImageError(f"{_CHAIN} leaves the file at page {len(seen)}. Copy it again")
        file.seek(begin)
        looked_at = min(entries, 2 if found else _HEAD_TAGS)
        head = layout.head(file.read(looked_at * layout.entry_size))
        if not found:
            texts = [value for number, value in head if number == DESCRIPTION]
        (copies if _is_copy(head) else found).append(offset)
        offset = read_number(file, link, layout.offset)
    pages = found or copies[:1]
    description = _start_of_text(file, texts[0]) if texts else b""
    if len(pages) > 1 and description.startswith(_APERIO):
        pages = pages[:1]
    stated = _IMAGEJ.match(description)
    if len(seen) == 1 and stated and int(stated[1]) > 1:
        pages *= _planes(file, first, int(stated[1]))
    return (first, *pages)


_offsets_once = once_per_file(16)(_offsets)
"""``_offsets``, walked once for all pages of a stack."""


def _is_copy(head: Sequence[tuple[int, int]]) -> bool:
    """Say whether one of a directory's first tags says that it is a reduced image or a mask."""
    return any(
        (number == _NEW_SUBFILE_TYPE and value & (_REDUCED | _MASK))
        or (number == _SUBFILE_TYPE and value == _REDUCED_OF_OLD)
        for number, value in head[:2]
    )


def _start_of_text(file: BinaryIO, place: int) -> bytes:
    """Return how the text at a place of a file begins; none where no file is as long."""
    if place >= 1 << 62:
        return b""
    file.seek(place)
    return file.read(_HEAD_TEXT)


def _planes(file: BinaryIO, offset: int, stated: int) -> int:
    """Return how many planes the only directory of a file of ImageJ stands for: all, or one.

    A page that was saved by itself may still say how many its stack had. ImageError where planes
    are missing, or cannot be told apart from what lies between them.
    """
    directory = read_directory(file)
    start, size = directory.run() if directory else (0, 0)
    if directory is None or not size:
        return 1
    end = offset if offset > start else file.seek(0, os.SEEK_END)
    room = (end - start) // size
    if room < 2:
        return 1
    if room < stated:
        raise ImageError(
            f"says that it has {stated} planes, and has {room}. Copy it again, or save each plane "
            "as its own file"
        )
    if stated > MAX_PAGES:
        raise ImageError(f"has more than {MAX_PAGES} pages; that is the limit. Split it")
    if offset > start or any(tag.place > start for tag in directory.tags.values()):
        raise ImageError(
            f"has one directory for {stated} planes, and it is not before them. Save each plane as "
            "its own page"
        )
    if start + size > MAX_BYTES:
        raise ImageError(f"has planes of {size} bytes; the limit is {MAX_BYTES}. Cut it into parts")
    return stated


def _plane(raw: io.FileIO | io.BytesIO, page: int) -> BinaryIO:
    """Return a stack of one directory as though a plane (from 1) were all of it."""
    directory = read_directory(raw)
    assert directory is not None
    start, size = directory.run()
    raw.seek(0)
    head = raw.read(start)
    raw.seek(start + (page - 1) * size)
    return io.BytesIO(head + raw.read(size))
