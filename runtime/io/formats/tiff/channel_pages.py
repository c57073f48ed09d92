"""Find the pages of an image in a TIFF that has a page for each channel."""

from __future__ import annotations

import io
import re
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.once_per_file import once_per_file
from foveate.runtime.io.formats.tiff.directory import DESCRIPTION, read_directory
from foveate.runtime.io.formats.tiff.pages import page_count, page_offsets
from foveate.runtime.spec import GREY, channel_count

_OME = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_FIELD = re.compile(r"""\b(DimensionOrder|Size[CZT])\s*=\s*["'](\w+)["']""")
_IMAGEJ_FIELD = re.compile(r"^(channels|slices|frames)=(\d{1,6})$", re.MULTILINE)


def pages_of_image(source: Path | bytes, page: int, channels: str) -> tuple[int, ...]:
    """Return the pages of an image's channels; none where a page holds all of them."""
    found = channel_pages(source, channels)
    if not page:
        return found[0] if len(found) == 1 else ()
    return found[page - 1] if page <= len(found) else ()


def image_count(path: Path, channels: str) -> int:
    """Return the images of a TIFF; 1 as well where it cannot be read."""
    return len(channel_pages(path, channels)) or page_count(path)


def channel_pages(source: Path | bytes, channels: str) -> tuple[tuple[int, ...], ...]:
    """Return the pages, from 1, of each image of a TIFF that has a page for each channel.

    Empty unless OME-XML or ImageJ's description states as many ``channels`` and the file has as
    many pages as they say; empty too for what cannot be read: reading it says why.
    """
    if channels == GREY:
        return ()
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(source) as file:
            return _channel_pages(file, channel_count(channels))
    except (OSError, ImageError):
        return ()


@once_per_file(16)
def _channel_pages(file: BinaryIO, count: int) -> tuple[tuple[int, ...], ...]:
    directory = read_directory(file)
    text = directory.text(file, DESCRIPTION) if directory else ""
    found = _OME.search(text)
    if found:
        fields = dict(_OME_FIELD.findall(found[0]))
        order = fields.get("DimensionOrder", "")[2:]
        sizes = {axis: fields.get(f"Size{axis}", "1") for axis in "CZT"}
    else:
        fields = dict(_IMAGEJ_FIELD.findall(text)) if text.startswith("ImageJ=") else {}
        order = "CZT"
        names = zip(order, ("channels", "slices", "frames"), strict=True)
        sizes = {axis: fields.get(name, "1") for axis, name in names}
    if sorted(order) != ["C", "T", "Z"] or sizes["C"] != str(count):
        return ()
    lengths = [int(sizes[axis]) for axis in reversed(order)]
    if prod(lengths) != len(page_offsets(file)):
        return ()
    pages = np.arange(1, prod(lengths) + 1).reshape(lengths)
    images = np.moveaxis(pages, 2 - order.index("C"), 2).reshape(-1, count)
    return tuple(tuple(image) for image in images.tolist())
