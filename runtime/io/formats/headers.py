"""Read the header of an image file, and refuse what can be refused before decoding.

Refused by name: animations, CMYK, float or 32-bit pixels, images over the limits, and a TIFF of
several pages when none of them is asked for.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin, WebPImagePlugin

from foveate.runtime.errors import ImageError, PagesError, SizeError
from foveate.runtime.io.formats.jpeg_segments import JPEG_START, check_segments
from foveate.runtime.io.formats.limits import MAX_PIXELS, MAX_SIDE
from foveate.runtime.io.formats.png_chunks import PNG_START, check_chunks
from foveate.runtime.io.formats.tiff import PLANES, DeepGrey, deep_grey, read_directory
from foveate.runtime.io.formats.tiff_pages import count_pages, open_page, open_page_in_memory

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", TiffImagePlugin.TiffImageFile.format,
           "BMP", WebPImagePlugin.WebPImageFile.format)  # fmt: skip
"""What Pillow tries. Naming the two plugins loads them, and spares loading its other forty."""
_EMPTY = f"is empty (0 bytes); expected {', '.join(SUFFIXES)}"

GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr")
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 258
_HEAD = 1 << 16
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, with our own words
warnings.filterwarnings("ignore", module=r"PIL\.")  # once: to do it per file is not thread-safe


@dataclass(frozen=True)
class Header:
    """What a file says of itself: upright size in pixels, mode, format.

    ``sample_bits`` is the depth of a TIFF's samples, 16 for a PNG of 16-bit colours, else 0;
    ``deep_grey`` is how a grey TIFF of 9 to 16 bits is decoded.
    """

    height: int
    width: int
    mode: str
    format: str
    sample_bits: int = 0
    deep_grey: DeepGrey | None = None

    @property
    def colour_16(self) -> bool:
        """Say whether it has colours of 16 bits, of which Pillow would keep 8."""
        return self.sample_bits > 8 and not self.mode.startswith("I;16")


def is_image_name(name: str) -> bool:
    """Say whether a file name ends like an image and is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_header(path: Path, page: int = 0) -> Header:
    """Return the header of an image file; ImageError names what is wrong with it.

    ``page`` is a page of a TIFF, from 1; 0 is a file that must have no more than one.
    """
    with opened(path, page) as file:
        return header_of(file, page)


@contextmanager
def opened(path: Path, page: int = 0) -> Iterator[BinaryIO]:
    """Open an image file, at a page of it; an ImageError from within is said of that page."""
    try:
        status = os.stat(path)
        _check_kind(path, status)
        raw = io.FileIO(path)
    except FileNotFoundError as error:
        raise ImageError("no such file or folder") from error
    except PermissionError as error:
        raise ImageError("no permission to read it") from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    with raw, _said_of(page):
        yield open_page(raw, path, page) if page else raw


@contextmanager
def opened_in_memory(data: bytes, page: int = 0) -> Iterator[BinaryIO]:
    """Open the content of an image file, as ``opened`` opens the file."""
    if not data:
        raise ImageError(_EMPTY)
    raw = io.BytesIO(data)
    with _said_of(page):
        yield open_page_in_memory(raw, page) if page else raw


@contextmanager
def _said_of(page: int) -> Iterator[None]:
    """Turn what is raised while an image is read into an ImageError of that page."""
    try:
        yield
    except ImageError as error:
        raise type(error)(f"page {page} {error}" if page else str(error)) from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error


def _check_kind(path: Path, status: os.stat_result) -> None:
    """Raise ImageError for what is not a plain file; to open a pipe would wait for its writer."""
    if stat.S_ISDIR(status.st_mode):
        if not os.access(path, os.R_OK | os.X_OK):
            raise ImageError("is a folder that you have no permission to list")
        raise ImageError("is a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("is a device or a pipe; expected a plain file")
    if status.st_size == 0:
        raise ImageError(_EMPTY)


def header_of(file: BinaryIO, page: int) -> Header:
    """Return the header of an open image file; ImageError names what is wrong with it."""
    plain = _plain_png(file.read(41))
    if plain:
        _check_header(plain, 1)
        return plain
    file.seek(0)
    _check_start(file)
    directory = read_directory(file)
    grey = deep_grey(directory) if directory else None
    if grey:
        sides = (grey.height, grey.width)
        height, width = sides[::-1] if grey.orientation in SIDEWAYS else sides
        header = Header(height, width, "I;16", "TIFF", grey.bits, grey)
        _check_header(header, 1 if page else count_pages(file))
        return header
    try:
        image = Image.open(file, formats=FORMATS)
        header = _header(image)
        pages = int(getattr(image, "n_frames", 1)) if header.format != "TIFF" else 1
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise ImageError(
            f"is not an image in a supported format; expected {', '.join(SUFFIXES)}"
        ) from error
    if header.format == "TIFF" and not page:
        pages = count_pages(file)
    if directory and directory[PLANES] != 1 and header.colour_16:  # OpenCV leaves memory as it was
        raise ImageError(
            "has colours of 16 bits in separate planes; expected them pixel by pixel. Convert it "
            "first"
        )
    _check_header(header, pages)
    return header


def _check_start(file: BinaryIO) -> None:
    """Check what comes before the pixels of a PNG or JPEG, which Pillow reads part by part."""
    data = file.read(_HEAD)
    for magic, check in ((PNG_START, check_chunks), (JPEG_START, check_segments)):
        if data.startswith(magic) and not check(data):
            check(data + file.read())
    file.seek(0)


def _plain_png(start: bytes) -> Header | None:
    """Return the header of a grey PNG whose pixels begin at once: no orientation, no animation.

    Most are; this takes a tenth of Pillow's time, which counts where images are small.
    """
    if start[:16] != PNG_START + b"\0\0\0\rIHDR" or start[37:] != b"IDAT":
        return None
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    if not width or not height or colour or bits not in (8, 16):
        return None
    return Header(height, width, "L" if bits == 8 else "I;16", "PNG")


def _header(image: Image.Image) -> Header:
    height, width, bits = image.height, image.width, 0
    if image.format == "TIFF":  # Pillow turns its size upright by itself
        stated = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (1,))
        bits = max(stated) if isinstance(stated, tuple) else int(stated)
    elif orientation(image) in SIDEWAYS:
        height, width = width, height
    if image.format == "PNG":  # colours: what Pillow would make of 16 bits has 8
        parts = getattr(image, "tile", [])
        bits = 16 if parts and str(parts[0][3]).endswith(";16B") else 0
    return Header(height, width, image.mode, str(image.format), bits)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none; ``getexif`` would decode a whole PNG."""
    stored = image.info.get("exif")
    if not stored:
        return 1
    exif = Image.Exif()
    exif.load(stored)
    return int(exif.get(ORIENTATION, 1))


def _check_header(header: Header, pages: int) -> None:
    if pages > 1:
        raise PagesError(f"has {pages} pages; expected one. Save each page as its own file")
    if max(header.height, header.width) > MAX_SIDE or header.height * header.width > MAX_PIXELS:
        raise SizeError(
            f"is {header.width}x{header.height} pixels; the limits are {MAX_SIDE} a side and "
            f"{MAX_PIXELS} pixels in all. Cut it into parts"
        )
    if header.mode not in GREY_MODES + COLOUR_MODES:
        raise ImageError(
            f'has pixels of mode "{header.mode}"; expected 8 or 16 bit grey, RGB, RGBA or palette. '
            "Convert it first"
        )
