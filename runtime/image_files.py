"""Grayscale images from files: the header first, then the pixels, by stated rules.

PNG, JPEG, TIFF, BMP and WebP. 8 and 16 bit grey stay as they are. Colour becomes grey by ITU-R
BT.601 luma, transparency is dropped, a JPEG's EXIF orientation is applied (the mask has the
upright size). Refused by name: more than one page, CMYK, float or 32-bit pixels, 1.x bit depths
that neither library reads, and images over the limits.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from foveate.runtime.errors import ImageError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAX_SIDE = 32_768
MAX_PIXELS = 1 << 27
"""Largest image read: 134 million pixels, so that a bomb is refused before it is decoded."""

GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr")

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, with our own words


@dataclass(frozen=True)
class Header:
    """What a file says of itself before decoding: size in pixels as stored, mode and format."""

    height: int
    width: int
    mode: str
    format: str


def read_header(path: Path) -> Header:
    """Return the header of an image file; ImageError names what is wrong with it."""
    if path.is_dir():
        raise ImageError("is a folder, not an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                header = Header(image.height, image.width, image.mode, str(image.format))
                pages = int(getattr(image, "n_frames", 1))
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except PermissionError as error:
        raise ImageError("no permission to read it") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error) as error:
        size = path.stat().st_size
        what = "is empty (0 bytes)" if size == 0 else "is not an image in a format known here"
        raise ImageError(f"{what}; wanted {', '.join(SUFFIXES)}") from error
    _check_header(header, pages)
    return header


def _check_header(header: Header, pages: int) -> None:
    if pages > 1:
        raise ImageError(f"has {pages} pages; wanted one. Save each page as its own file")
    if max(header.height, header.width) > MAX_SIDE or header.height * header.width > MAX_PIXELS:
        raise ImageError(
            f"is {header.width}x{header.height} pixels; the limits are {MAX_SIDE} a side and "
            f"{MAX_PIXELS} pixels in all. Cut it into parts"
        )
    if header.mode not in GREY_MODES + COLOUR_MODES:
        raise ImageError(
            f'has pixels of mode "{header.mode}"; wanted 8 or 16 bit grey, RGB, RGBA or palette. '
            "Convert it first"
        )


def read_image(path: Path) -> Pixels:
    """Return the (H, W) grey pixels of a file, uint8 or uint16; ImageError says why not."""
    header = read_header(path)
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise ImageError("is damaged: its header is sound, its pixels cannot be decoded")
    if set(pixels.shape[:2]) != {header.height, header.width}:
        raise ImageError(
            f"decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels; its header said "
            f"{header.width}x{header.height}"
        )
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    if pixels.dtype == np.uint16:
        return np.ascontiguousarray(pixels, dtype=np.uint16)
    raise ImageError(f"decodes to {pixels.dtype} pixels; wanted uint8 or uint16. Convert it first")


def image_paths(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; other files are not looked at."""
    return sorted(path for path in folder.iterdir() if is_image_name(path))


def is_image_name(path: Path) -> bool:
    """Say whether a name ends like an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the paths grouped by their stem."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem, []).append(path)
    return groups
