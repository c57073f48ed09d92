"""Grayscale images from files: the header first, then the pixels, by stated rules.

PNG, JPEG, TIFF, BMP and WebP. 8 and 16 bit grey stay as they are. Colour becomes grey by ITU-R
BT.601 luma, transparency is dropped, an EXIF orientation is applied (the mask has the upright
size). A file that ends too early is refused, whatever the decoder would make of it. The pages of a
TIFF are images of their own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.errors import ImageError, SizeError
from foveate.runtime.image_headers import (
    FORMATS,
    MAX_PIXELS,
    SIDEWAYS,
    Header,
    header_of,
    is_image_name,
    opened,
    opened_in_memory,
    orientation,
)

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

MAX_BYTES = (1 << 31) - 1
"""Largest file read at once; OpenCV counts bytes with 31 bits."""

_CUT = "is cut short: its end is missing. Copy it again"
_DAMAGED = "is damaged: its header is sound, its pixels cannot be decoded"


def read_image(path: Path, page: int = 0, header: Header | None = None) -> Pixels:
    """Return the (H, W) grey pixels of a file, uint8 or uint16; ImageError says why not.

    ``page`` is a page of a TIFF, from 1; 0 is a file that must have no more than one. ``header``
    is what ``read_header`` returned for it, where that is known.
    """
    with opened(path, page) as file:
        return _pixels(file, page, header or header_of(file, page))


def image_in_memory(data: bytes, page: int = 0, most: int = MAX_PIXELS) -> Pixels:
    """Return the grey pixels of a file's content, as ``read_image`` does of the file.

    SizeError where it has more than ``most`` pixels, before they are decoded.
    """
    with opened_in_memory(data, page) as file:
        header = header_of(file, page)
        if header.height * header.width > most:
            raise SizeError(
                f"is {header.width}x{header.height} pixels; the limit is {most} in all. "
                "Cut it into parts"
            )
        return _pixels(file, page, header)


def _pixels(file: BinaryIO, page: int, header: Header) -> Pixels:
    data = b"" if page else _content(file)
    _check_end(data, header.format)
    colour_16 = header.sample_bits > 8 and not header.mode.startswith("I;16")
    if header.format in ("PNG", "BMP"):
        pixels = _decode(data)
    else:
        pixels = _decode_by_pillow(file if page else io.BytesIO(data))
        if colour_16:  # Pillow has eight bits of it; whether it is whole is known now
            pixels = _decode(_content(file))
    if pixels.shape != (header.height, header.width):
        raise ImageError(
            f"decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels; its header said "
            f"{header.width}x{header.height}"
        )
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    if pixels.dtype == np.uint16:
        return np.ascontiguousarray(pixels, dtype=np.uint16)
    raise ImageError(f"decodes to {pixels.dtype} pixels; wanted uint8 or uint16. Convert it first")


def _content(file: BinaryIO) -> bytes:
    """Return all bytes of a file, read at once; ImageError when no decoder would take as many."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise ImageError(f"has {size} bytes; the limit is {MAX_BYTES}. Save it compressed")
    file.seek(0)
    return file.read()


def _check_end(data: bytes, kind: str) -> None:
    """Raise ImageError when the end is missing.

    Some decoders fill the rest with grey; OpenCV reserves the two gigabytes that a chunk of a PNG
    claims to have.
    """
    whole = True
    if kind == "PNG":
        whole = data.rfind(b"IEND\xaeB`\x82") >= 0
        if whole and not _has_end_chunk(data):
            raise ImageError(_DAMAGED)
    elif kind in ("JPEG", "MPO"):
        whole = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")  # end of image, start of scan
    if not whole:
        raise ImageError(_CUT)


def _has_end_chunk(data: bytes) -> bool:
    """Say whether the chunks of a PNG follow each other to its end mark, within the file."""
    place = 8
    while place + 12 <= len(data):
        kind = data[place + 4 : place + 8]
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if kind == b"IEND":
            return place <= len(data)
    return False


def _decode(data: bytes) -> npt.NDArray[np.generic]:
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(_DAMAGED) from error
    if pixels is None:
        raise ImageError(_DAMAGED)
    return pixels


def _decode_by_pillow(file: BinaryIO) -> npt.NDArray[np.generic]:
    """Decode what OpenCV would decode in part and not say so: TIFF, JPEG, WebP.

    OpenCV also multiplies a TIFF by its transparency.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            upright = 1 if image.format == "TIFF" else orientation(image)
            image.draft("L", image.size)  # JPEG: the luma, without the way through RGB
            return _turned(_grey(image), upright)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise ImageError(_DAMAGED) from error


def _grey(image: Image.Image) -> npt.NDArray[np.generic]:
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    if image.mode == "L" or image.mode.startswith("I;16"):
        return np.asarray(image)
    colour = image if image.mode in ("RGB", "RGBA", "RGBX") else image.convert("RGB")
    rgb = np.ascontiguousarray(np.asarray(colour)[:, :, :3])
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def _turned(pixels: npt.NDArray[np.generic], upright: int) -> npt.NDArray[np.generic]:
    """Return the pixels of an EXIF orientation (1 to 8) upright."""
    if upright in SIDEWAYS:
        pixels = pixels.T
    if upright in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if upright in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def image_paths(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; other files are not looked at."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the paths grouped by their stem."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem, []).append(path)
    return groups
