"""Read grayscale images from files: the header first, then the pixels, by stated rules.

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
from foveate.runtime.io.formats.headers import (
    FORMATS,
    SIDEWAYS,
    Header,
    header_of,
    is_image_name,
    opened,
    opened_in_memory,
    orientation,
)
from foveate.runtime.io.formats.jpeg_segments import jpeg_pixels
from foveate.runtime.io.formats.limits import DAMAGED, MAX_PIXELS
from foveate.runtime.io.formats.png_chunks import png_pixels
from foveate.runtime.io.formats.tiff_pages import PageFile, patched

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

MAX_BYTES = (1 << 31) - 1
"""Largest file read at once; OpenCV counts bytes with 31 bits."""


def read_image(path: str | Path, page: int = 0, header: Header | None = None) -> Pixels:
    """Read an image file as grey pixels.

    Returns (H, W) uint8 or uint16, upright, in the file's own range (0 is black, 255 or 65535
    white); colour becomes grey by ITU-R BT.601 luma. ``page`` is a page of a TIFF, from 1; 0 is for
    a file of a single image. ``header`` is what ``read_header`` returned for it, if known. Raises
    ImageError for a file that is missing, damaged, unsupported or too large, with the reason.
    """
    with opened(Path(path), page) as file:
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
    if header.format == "PNG":
        pixels = _decode(png_pixels(data))
    elif header.format == "BMP":
        pixels = _decode(data)
    elif header.format == "TIFF":
        pixels = _tiff(file, data, header)
    else:
        data = jpeg_pixels(data) if header.format in ("JPEG", "MPO") else data
        pixels = _decode_by_pillow(io.BytesIO(data))
    if pixels.shape != (header.height, header.width):
        raise ImageError(
            f"decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels; its header said "
            f"{header.width}x{header.height}"
        )
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:  # of either byte order
        return np.ascontiguousarray(pixels, dtype=np.uint16)
    raise ImageError(
        f"decodes to {pixels.dtype} pixels; expected uint8 or uint16. Convert it first"
    )


def _tiff(file: BinaryIO, data: bytes, header: Header) -> npt.NDArray[np.generic]:
    """Decode a TIFF page; ``data`` is the whole file where it is in memory."""
    grey = header.deep_grey
    if grey is None:
        pixels = _decode_by_pillow(io.BytesIO(data) if data else file)
        # of 16-bit colours Pillow has eight bits; whether they are whole is known now
        return _decode(data or _content(file)) if header.colour_16 else pixels
    if isinstance(file, PageFile) and not grey.packed:
        file.patches |= grey.patches
        return grey.pixels(_decode_by_pillow(file))
    data = patched(data or _content(file), grey.patches)
    pixels = grey.pixels(_decode_by_pillow(io.BytesIO(data)))
    return _turned(pixels, grey.orientation) if grey.packed else pixels


def _content(file: BinaryIO) -> bytes:
    """Return all bytes of a file, read at once; ImageError when no decoder would take as many."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise ImageError(f"has {size} bytes; the limit is {MAX_BYTES}. Save it compressed")
    file.seek(0)
    return file.read()


def _decode(data: bytes) -> npt.NDArray[np.generic]:
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(DAMAGED) from error
    if pixels is None:
        raise ImageError(DAMAGED)
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
        raise ImageError(DAMAGED) from error


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
