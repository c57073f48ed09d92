"""Grayscale images from files: the header first, then the pixels, by stated rules.

PNG, JPEG, TIFF, BMP and WebP. 8 and 16 bit grey stay as they are. Colour becomes grey by ITU-R
BT.601 luma, transparency is dropped, an EXIF orientation is applied (the mask has the upright
size). A file that ends too early is refused, whatever the decoder would make of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.image_headers import SUFFIXES, read_header

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_CUT = "is cut short: its end is missing. Copy it again"
_DAMAGED = "is damaged: its header is sound, its pixels cannot be decoded"


def read_image(path: Path) -> Pixels:
    """Return the (H, W) grey pixels of a file, uint8 or uint16; ImageError says why not."""
    header = read_header(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    _check_end(data, header.format)
    colour_16 = header.sample_bits > 8 and not header.mode.startswith("I;16")
    if header.format == "TIFF" and not colour_16:
        pixels = _decode_tiff(data)
    else:
        pixels = _decode(data)
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


def _check_end(data: bytes, kind: str) -> None:
    """Raise ImageError when the end mark is missing: some decoders fill the rest with grey."""
    whole = True
    if kind == "PNG":
        whole = data.rfind(b"IEND\xaeB`\x82") >= 0
    elif kind in ("JPEG", "MPO"):
        whole = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")  # end of image, start of scan
    if not whole:
        raise ImageError(_CUT)


def _decode(data: bytes) -> npt.NDArray[np.generic]:
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(_DAMAGED) from error
    if pixels is None:
        raise ImageError(_DAMAGED)
    return pixels


def _decode_tiff(data: bytes) -> npt.NDArray[np.generic]:
    """Decode with Pillow: OpenCV passes over damaged strips and multiplies by transparency."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"))
            if image.mode == "L" or image.mode.startswith("I;16"):
                return np.asarray(image)
            colour = image if image.mode in ("RGB", "RGBA", "RGBX") else image.convert("RGB")
            rgb = np.ascontiguousarray(np.asarray(colour)[:, :, :3])
            return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise ImageError(_DAMAGED) from error


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
