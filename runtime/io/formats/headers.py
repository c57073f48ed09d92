"""Read the header of an image file, and refuse what can be refused before decoding.

Refused by name: animations, colours that cannot become grey, images over the limits, and a TIFF of
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
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin, WebPImagePlugin

from foveate.runtime.errors import ImageError, PagesError, SizeError
from foveate.runtime.io.formats.exif import SIDEWAYS, exif_orientation
from foveate.runtime.io.formats.header import COLOUR_MODES, GREY_MODES, MULTI, SAMPLES_ALONE, Header
from foveate.runtime.io.formats.jpeg_segments import JPEG_START, jpeg_start
from foveate.runtime.io.formats.limits import MAX_PIXELS, MAX_SIDE
from foveate.runtime.io.formats.npy import NPY_START, read_npy
from foveate.runtime.io.formats.pixel_size import PixelSize, png_pixel_size
from foveate.runtime.io.formats.png_chunks import PNG_START, png_start
from foveate.runtime.io.formats.tiff.channel_pages import pages_of_image
from foveate.runtime.io.formats.tiff.directory import BITS, read_directory
from foveate.runtime.io.formats.tiff.grey import grey_page
from foveate.runtime.io.formats.tiff.pages import open_page, page_pixel_size, several
from foveate.runtime.io.formats.tiff.samples import SampledPage, sampled_page
from foveate.runtime.io.formats.volumes import SUFFIXES as VOLUME_SUFFIXES
from foveate.runtime.io.formats.volumes import (
    begins_volume,
    is_unnamed_dicom,
    is_volume,
    volume_of,
)
from foveate.runtime.spec import GREY

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy", *VOLUME_SUFFIXES
)  # fmt: skip
FORMATS = ("JPEG", TiffImagePlugin.TiffImageFile.format,
           "BMP", WebPImagePlugin.WebPImageFile.format)  # fmt: skip
"""What Pillow reads. Naming the two plugins loads them, and spares loading its other forty."""
_EMPTY = f"is empty (0 bytes); expected {', '.join(SUFFIXES)}"
_PHONES = "is HEIC, AVIF or a video; expected JPEG or PNG. Set the phone to JPEG, or convert it"
_UNKNOWN = f"is not an image in a supported format; expected {', '.join(SUFFIXES)}"

_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_HEAD = 1 << 16
_PILLOWS_SAMPLES = 4
"""With more samples a pixel, Pillow writes messages of its own."""

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, with our own words
warnings.filterwarnings("ignore", module=r"PIL\.")  # once: to do it per file is not thread-safe


def is_image_name(name: str) -> bool:
    """Say whether a file name ends like an image and is not hidden."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def may_have_slices(name: str) -> bool:
    """Say whether a file is called as DICOM and NIfTI are, or by a name that says nothing."""
    return name.lower().endswith(VOLUME_SUFFIXES) or not is_image_name(name)


def is_image_file(path: Path) -> bool:
    """Say whether a file of a folder is taken for an image; DICOM may have no suffix."""
    return is_image_name(path.name) or is_unnamed_dicom(path)


def stem_of(path: Path) -> str:
    """Return the name of an image file without the suffix; a UID has none."""
    if path.name.lower().endswith(".nii.gz"):
        return path.name[: -len(".nii.gz")]
    return path.name if path.suffix[1:].isdigit() else path.stem


def read_header(path: Path, page: int = 0, channels: str = GREY) -> Header:
    """Return the header of an image file; ImageError names what is wrong with it.

    ``page`` is a page of a TIFF, from 1; 0 is a file that must have no more than one. An image of
    several ``channels`` may have a page for each.
    """
    pages = pages_of_image(path, page, channels)
    if pages:
        return replace(read_header(path, pages[0]), mode=MULTI, stacked=len(pages))
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
        yield raw if is_volume(raw) else open_page(raw, page)


@contextmanager
def opened_in_memory(data: bytes, page: int = 0) -> Iterator[BinaryIO]:
    """Open the content of an image file, as ``opened`` opens the file."""
    if not data:
        raise ImageError(_EMPTY)
    raw = io.BytesIO(data)
    with _said_of(page):
        yield raw if is_volume(raw) else open_page(raw, page)


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
    head = file.read(_HEAD)
    if head.startswith(PNG_START):
        return _png_header(head, file)
    if head.startswith(JPEG_START):
        return _jpeg_header(head, file)
    if begins_volume(head):
        return _volume_header(file, page)
    if head.startswith(NPY_START):
        return _array_header(file)
    file.seek(0)
    directory = read_directory(file)
    grey = grey_page(directory) if directory else None
    pixel_size = page_pixel_size(file, directory) if directory else None
    if grey:
        turned = grey.orientation in SIDEWAYS
        height, width = (grey.width, grey.height) if turned else (grey.height, grey.width)
        mode = "I;16" if grey.numbers is None else "F"
        header = Header(height, width, mode, "TIFF", 16, grey, grey.orientation, None, pixel_size)
        _check_header(header, 1)
        return header
    samples = sampled_page(directory) if directory else None
    if samples and (samples.deep_planes or samples.count > _PILLOWS_SAMPLES):
        return _samples_header(samples, pixel_size)
    try:
        image = Image.open(file, formats=FORMATS)
        pages = 1 if directory else int(getattr(image, "n_frames", 1))
        exif = b"" if directory else image.info.get("exif", b"")  # Pillow turns a TIFF by itself
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many types on damaged files
        if samples:
            return _samples_header(samples, pixel_size)
        raise ImageError(_PHONES if head[4:8] == b"ftyp" else _UNKNOWN) from error
    height, width, kind = image.height, image.width, str(image.format)
    if directory is None:
        return _checked(height, width, image.mode, kind, 0, exif, pages)
    header = _checked(height, width, image.mode, kind, directory[BITS], b"", 1, pixel_size)
    return replace(header, samples=samples) if samples else header


def _samples_header(samples: SampledPage, pixel_size: PixelSize | None) -> Header:
    """Return the header of a TIFF page that no decoder reads as it is stored."""
    height, width, turned = samples.height, samples.width, samples.orientation
    if turned in SIDEWAYS:
        height, width = width, height
    mode = "RGB" if samples.colour else MULTI
    header = Header(
        height, width, mode, SAMPLES_ALONE, samples.bits, None, turned, None, pixel_size, samples
    )
    _check_header(header, 1)
    return header


def _array_header(file: BinaryIO) -> Header:
    """Return the header of an NPY: 3 channels are colours."""
    array = read_npy(file)
    deep = array.numbers or array.dtype.itemsize == 2
    mode = {1: "I;16" if deep else "L", 3: "RGB"}.get(array.count, MULTI)
    header = Header(array.height, array.width, mode, "NPY", 16 * deep, array=array)
    _check_header(header, 1)
    return header


def _volume_header(file: BinaryIO, page: int) -> Header:
    """Return the header of a frame of DICOM or of a slice of NIfTI."""
    volume = volume_of(file)
    if page > volume.frames:
        raise ImageError(f"is not there: the file has {volume.frames}")
    height, width = volume.size
    mode = "L" if volume.bits(page) == 8 else "I;16"
    size = volume.pixel_size(page)
    header = Header(height, width, mode, volume.format, volume=volume, pixel_size=size)
    _check_header(header, 1 if page else volume.frames)
    return header


def _png_header(head: bytes, file: BinaryIO) -> Header:
    """Return the header of a PNG by its chunks alone: a broken one costs no more than itself."""
    start = png_start(head) or png_start(head + file.read())
    if start is None or start.colour not in _PNG_MODES:
        raise ImageError(_UNKNOWN)
    deep = start.bits == 16
    mode = "I;16" if deep and start.colour == 0 else _PNG_MODES[start.colour]
    size = png_pixel_size(start.phys)
    return _checked(
        start.height, start.width, mode, "PNG", 16 if deep else 0, start.exif, start.frames, size
    )


def _checked(
    height: int,
    width: int,
    mode: str,
    kind: str,
    bits: int,
    exif: bytes,
    pages: int,
    size: PixelSize | None = None,
) -> Header:
    """Return the header of an image as stored and its EXIF data, once it is within the limits."""
    orientation = exif_orientation(exif)
    if orientation in SIDEWAYS:
        height, width = width, height
        size = size and size.transposed
    header = Header(height, width, mode, kind, bits, None, orientation, None, size)
    _check_header(header, pages)
    return header


def _jpeg_header(head: bytes, file: BinaryIO) -> Header:
    """Return the header of the first picture of a JPEG, by its segments alone."""
    start = jpeg_start(head) or jpeg_start(head + file.read())
    if start is None or start.bits != 8 or start.components not in _JPEG_MODES:
        raise ImageError(_UNKNOWN)
    return _checked(
        start.height, start.width, _JPEG_MODES[start.components], "JPEG", 0, start.exif, 1
    )


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


def _check_header(header: Header, pages: int) -> None:
    if pages > 1:
        raise PagesError(several(pages))
    parts = header.samples or header.array
    most = MAX_PIXELS // parts.count if parts else MAX_PIXELS
    if max(header.height, header.width) > MAX_SIDE or header.height * header.width > most:
        raise SizeError(
            f"is {header.width}x{header.height} pixels; the limits are {MAX_SIDE} a side and "
            f"{most} pixels in all. Cut it into parts"
        )
    known = header.numbers or header.mode in (*GREY_MODES, *COLOUR_MODES, MULTI)
    if not known or header.mode == "CMYK" and header.sample_bits > 8:
        raise ImageError(
            f'has pixels of mode "{header.mode}"; expected grey, RGB, RGBA, palette or CMYK of 8 '
            "bits. Convert it first"
        )
