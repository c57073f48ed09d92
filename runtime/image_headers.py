"""What an image file says of itself before decoding, and what is refused on that alone.

Refused by name: more than one page, CMYK, float or 32-bit pixels, and images over the limits.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from foveate.runtime.errors import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MAX_SIDE = 32_768
MAX_PIXELS = 1 << 27
"""Largest image read: 134 million pixels, so that a bomb is refused before it is decoded."""

GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr")
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 258
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, with our own words


@dataclass(frozen=True)
class Header:
    """What a file says of itself: upright size in pixels, mode, format.

    ``sample_bits`` is the depth of a TIFF's samples, 0 in other formats.
    """

    height: int
    width: int
    mode: str
    format: str
    sample_bits: int = 0


def read_header(path: Path) -> Header:
    """Return the header of an image file; ImageError names what is wrong with it."""
    try:
        if path.is_dir():
            raise ImageError("is a folder, not an image")
        if path.exists() and not path.is_file():
            raise ImageError("is a device or a pipe; wanted a plain file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                header = _header(image)
                pages = int(getattr(image, "n_frames", 1))
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError("no such file or folder") from error
    except PermissionError as error:
        raise ImageError("no permission to read it") from error
    except Exception as error:  # Pillow's readers raise many types on damaged files
        empty = path.is_file() and path.stat().st_size == 0
        what = "is empty (0 bytes)" if empty else "is not an image in a format known here"
        raise ImageError(f"{what}; wanted {', '.join(SUFFIXES)}") from error
    _check_header(header, pages)
    return header


def _header(image: Image.Image) -> Header:
    height, width, bits = image.height, image.width, 0
    if image.format == "TIFF":  # Pillow turns its size upright by itself
        stated = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (1,))
        bits = max(stated) if isinstance(stated, tuple) else int(stated)
    elif _orientation(image) in SIDEWAYS:
        height, width = width, height
    return Header(height, width, image.mode, str(image.format), bits)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none; ``getexif`` would decode a whole PNG."""
    exif = Image.Exif()
    exif.load(image.info.get("exif") or b"")
    return int(exif.get(ORIENTATION, 1))


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
