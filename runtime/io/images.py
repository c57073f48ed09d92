"""Read images from files: the header first, then the pixels, by stated rules.

PNG, JPEG, TIFF, BMP and WebP. 8 and 16 bits stay as they are; signed, 32-bit and float values
become 16 bit by a window. Where grey is expected, colours become grey after decoding, by ITU-R
BT.601 luma; transparency is dropped, an EXIF orientation is applied (the mask has the upright
size). A file that ends too early is refused, whatever the decoder would make of it. The pages of a
TIFF are images of their own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from foveate.runtime.arrays import Array
from foveate.runtime.errors import ImageError, SizeError
from foveate.runtime.io.channels import as_channels, check_channels
from foveate.runtime.io.formats.exif import exif_of, upright
from foveate.runtime.io.formats.header import MULTI, SAMPLES_ALONE, Header
from foveate.runtime.io.formats.headers import (
    FORMATS,
    header_of,
    is_image_file,
    opened,
    opened_in_memory,
    stem_of,
)
from foveate.runtime.io.formats.jpeg_segments import jpeg_pixels
from foveate.runtime.io.formats.limits import DAMAGED, MAX_BYTES, MAX_PIXELS
from foveate.runtime.io.formats.png_chunks import png_pixels
from foveate.runtime.io.formats.tiff.channel_pages import pages_of_image
from foveate.runtime.io.formats.tiff.directory import ORIENTATION
from foveate.runtime.io.formats.tiff.grey import GreyPage
from foveate.runtime.io.formats.volumes import buffered
from foveate.runtime.io.window import Window, through
from foveate.runtime.spec import GREY, RGB, channel_count

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_GREY_FLAGS = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_COLOUR_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_COLOURED = ("RGB", "RGBA", "P")


def read_image(
    path: str | Path,
    page: int = 0,
    header: Header | None = None,
    window: Window | None = None,
    channels: str = GREY,
) -> Pixels:
    """Read an image file as pixels of some ``channels``: grey, rgb, or a number of them.

    Returns uint8 or uint16, upright, in the file's own range (0 is black, 255 or 65535 white):
    (H, W) for grey, which colours become by ITU-R BT.601 luma; (H, W, 3) for rgb, red first, where
    grey is repeated; (H, W, C) for other channels, as stored. ``page`` is a page of a TIFF, from 1;
    0 is for a file of a single image. ``header`` is what ``read_header`` returned for it, if known.
    ``window`` says which values become 0 and 65535 where pixels are signed, of 32 or 64 bits, or
    float; others do not change by it. Raises ImageError for a file that is missing, damaged,
    unsupported, too large or of other channels, with its path and the reason.
    """
    try:
        return _read(Path(path), page, window, channels, header)[0]
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


def read_image_and_header(
    path: Path, page: int, window: Window | None, channels: str = GREY
) -> tuple[Pixels, Header]:
    """Return what ``read_image`` does, and the header of the file."""
    return _read(path, page, window, channels)


def image_in_memory(
    data: bytes,
    page: int = 0,
    most: int = MAX_PIXELS,
    window: Window | None = None,
    channels: str = GREY,
) -> Pixels:
    """Return the pixels of a file's content, as ``read_image`` does of the file.

    SizeError where it has more than ``most`` pixels, before they are decoded.
    """
    return _read(data, page, window, channels, None, most)[0]


def _read(
    source: Path | bytes,
    page: int,
    window: Window | None,
    channels: str,
    header: Header | None = None,
    most: int = MAX_PIXELS,
) -> tuple[Pixels, Header]:
    """Return the pixels of a file, or of its content, and its header."""
    if channels != GREY:
        most = min(most, MAX_PIXELS // channel_count(channels))
        pages = pages_of_image(source, page, channels)
        if pages:
            return _stacked([_read(source, one, window, GREY, None, most) for one in pages])
    opening = opened_in_memory(source, page) if isinstance(source, bytes) else opened(source, page)
    with opening as file:
        header = header or header_of(file, page)
        check_channels(header, channels)
        if header.height * header.width > most:
            raise SizeError(
                f"is {header.width}x{header.height} pixels; the limit is {most} in all. "
                "Cut it into parts"
            )
        return as_channels(_pixels(file, page, header, window, channels), channels), header


def _stacked(planes: Sequence[tuple[Array, Header]]) -> tuple[Pixels, Header]:
    """Return images of one channel each as one image of several."""
    if len({(pixels.shape, str(pixels.dtype)) for pixels, _ in planes}) > 1:
        raise ImageError("has channels of several sizes or depths; expected one. Convert it first")
    header = replace(planes[0][1], mode=MULTI, stacked=len(planes))
    return np.stack([pixels for pixels, _ in planes], axis=2), header


def _pixels(
    file: BinaryIO, page: int, header: Header, window: Window | None, channels: str
) -> Pixels:
    rgb = channels != GREY
    if header.volume:
        with buffered(file) as read:
            pixels = header.volume.pixels(read, page, window)
    elif header.array:
        values = header.array.values(file)
        pixels = through(window, values) if header.numbers else values
    elif header.samples and (header.format == SAMPLES_ALONE or channels not in (GREY, RGB)):
        pixels = header.samples.pixels(file, _decode_grey_tiff)
        pixels = upright(pixels, header.samples.orientation)
    elif header.grey:
        pixels = _grey_page(file, page, header.grey, window)
    elif header.format == "TIFF":
        pixels = _tiff(file, page, header, rgb)
    else:
        pixels = upright(_decoded(_content(file), header, rgb), header.orientation)
    if pixels.shape[:2] != (header.height, header.width):
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


def _decoded(data: bytes, header: Header, rgb: bool) -> Array:
    """Decode what is not a TIFF, not yet upright: colours as RGB if ``rgb``, else as grey."""
    coloured = header.mode in _COLOURED
    if header.format == "PNG":
        return _decode(png_pixels(data), coloured, rgb)
    if header.format == "BMP":
        return _decode(data, coloured, rgb)
    if header.format == "JPEG":
        data = jpeg_pixels(data)
    return _decode_by_pillow(io.BytesIO(data), rgb)


def _tiff(file: BinaryIO, page: int, header: Header, rgb: bool) -> Array:
    """Decode a TIFF page of 1 to 8 bits or of colours; a page of several is read by its parts."""
    data = b"" if page else _content(file)
    pixels = _decode_by_pillow(io.BytesIO(data) if data else file, rgb)
    # of 16-bit colours Pillow has eight bits; whether they are whole is known now
    return _decode(data or _content(file), True, rgb) if header.colour_16 else pixels


def _grey_page(file: BinaryIO, page: int, grey: GreyPage, window: Window | None) -> Array:
    if grey.as_stored:
        return _decode_by_pillow(file if page else io.BytesIO(_content(file)))
    data = grey.alone(file)
    if grey.numbers is None:
        return upright(grey.values(_decode_by_pillow(io.BytesIO(data))), grey.orientation)
    pixels = through(window, grey.values(_decoded_by(data, cv2.IMREAD_UNCHANGED)))
    return upright(np.uint16(65535) - pixels if grey.inverted else pixels, grey.orientation)


def _content(file: BinaryIO) -> bytes:
    """Return all bytes of a file, read at once; ImageError when no decoder would take as many."""
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise ImageError(f"has {size} bytes; the limit is {MAX_BYTES}. Save it compressed")
    file.seek(0)
    return file.read()


def _decode(data: bytes, coloured: bool, rgb: bool) -> Array:
    """Decode by OpenCV. Colours become grey here: the PNG library would weigh them otherwise."""
    if not coloured:
        return _decoded_by(data, _GREY_FLAGS)
    change = cv2.COLOR_BGR2RGB if rgb else cv2.COLOR_BGR2GRAY
    return cv2.cvtColor(_decoded_by(data, _COLOUR_FLAGS), change)


def _decoded_by(data: bytes, flags: int) -> Array:
    """Return what OpenCV decodes with some flags."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(DAMAGED) from error
    if pixels is None:
        raise ImageError(DAMAGED)
    return pixels


def _decode_grey_tiff(data: bytes) -> Array:
    return _decode_by_pillow(io.BytesIO(data))


def _decode_by_pillow(file: BinaryIO, rgb: bool = False) -> Array:
    """Decode what OpenCV would decode in part and not say so: TIFF, JPEG, WebP.

    OpenCV also multiplies a TIFF by its transparency.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _keep_orientation_alone(image)
            if not rgb:
                image.draft("L", image.size)  # JPEG: the luma, without the way through RGB
            return _array(image, rgb)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise ImageError(DAMAGED) from error


def _keep_orientation_alone(image: TiffImagePlugin.TiffImageFile) -> None:
    """Leave a TIFF no tag to turn it by but its own orientation: none of XMP, none that breaks."""
    stated = image.tag_v2.get(ORIENTATION, 1)
    image.info.pop("xmp", None)
    image.info["exif"] = exif_of(stated) if isinstance(stated, int) and stated != 1 else b""


def _array(image: Image.Image, rgb: bool) -> Array:
    """Return the pixels of a picture: colours as RGB if ``rgb``, else as grey."""
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    if image.mode == "L" or image.mode.startswith("I;16"):
        return np.asarray(image)
    colour = image if image.mode in ("RGB", "RGBA", "RGBX") else image.convert("RGB")
    pixels = np.ascontiguousarray(np.asarray(colour)[:, :, :3])
    return pixels if rgb else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def image_paths(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; other files are not looked at."""
    return sorted(path for path in folder.iterdir() if is_image_file(path))


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the paths grouped by their stem."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(stem_of(path), []).append(path)
    return groups
