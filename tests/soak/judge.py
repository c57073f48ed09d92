"""Whether a mask is that of the pixels in its file, decoded here by other code than foveate's."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.cascade.cascade import Cascade


class Judge:
    """Compares masks with those of the same cascade on pixels decoded here."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def verdict(self, path: Path, line: dict[str, Any], out: Path) -> str:
        """Return what is wrong with the mask of a line of the results, empty when nothing is."""
        mask = cv2.imread(str(out / line["mask"]), cv2.IMREAD_UNCHANGED)
        if mask is None:
            return "its mask cannot be read"
        pixels = _by_rule(path.read_bytes(), int(line["page"]))
        if pixels is None:
            return "there is a mask, and the decoder gives no pixels"
        if mask.shape != pixels.shape:
            return f"its mask is {mask.shape}, its pixels are {pixels.shape}"
        wanted = self._cascade(pixels).mask
        differing = int(np.count_nonzero((mask > 0) != (wanted > 0)))
        return f"{differing} pixels of its mask are not those of its pixels" if differing else ""


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _by_rule(data: bytes, page: int) -> Pixels | None:
    """Return the pixels as the rule has it: a TIFF's by Pillow, others and deep colour by OpenCV.

    A page is gone to by its decoder, and where the first page is unsound, put first.
    """
    first = _at_page(data, page)
    if not _is_tiff(data) or _is_deep_colour(first):
        return by_opencv(first)
    found = _by_pillow(data, page)
    return _by_pillow(first) if found is None else found


def _at_page(data: bytes, page: int) -> bytes:
    """Return a TIFF whose first page is the one wanted; 0 and 1 leave it as it is."""
    if page < 2:
        return data
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(order + "I", data, 4)
    for _ in range(page - 1):
        (entries,) = struct.unpack_from(order + "H", data, place)
        (place,) = struct.unpack_from(order + "I", data, place + 2 + 12 * entries)
    return data[:4] + struct.pack(order + "I", place) + data[8:]


def _is_deep_colour(data: bytes) -> bool:
    """Say whether a TIFF has 16-bit colours, of which Pillow keeps eight bits, or is beyond it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
            return not image.mode.startswith("I;16") and max(bits) > 8
    except UnidentifiedImageError:  # a tag of another type, which libtiff takes
        return True


def by_opencv(data: bytes) -> Pixels | None:
    """Return the grey pixels that OpenCV decodes, None where it refuses.

    A PNG's colours become grey after decoding: libpng would weigh them otherwise.
    """
    png = data.startswith(b"\x89PNG")
    flags = (cv2.IMREAD_COLOR if png else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_ANYDEPTH
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if png and found is not None:
        found = cv2.cvtColor(found, cv2.COLOR_BGR2GRAY)
    return found  # type: ignore[return-value]


def _by_pillow(data: bytes, page: int = 0) -> Pixels | None:
    """Return the grey pixels that Pillow decodes, None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                tiff = image.format == "TIFF"
                if page:
                    image.seek(page - 1)
                image.draft("L", image.size)
                return _grey(image if tiff else ImageOps.exif_transpose(image))
    except Exception:  # Pillow's readers raise many types on damaged files
        return None


def _grey(image: Image.Image) -> Pixels:
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L")).astype(np.uint8)
    if image.mode == "L" or image.mode.startswith("I;16"):
        found: Array = np.asarray(image)
        return found.astype(np.uint16) if found.itemsize == 2 else found.astype(np.uint8)
    rgb = np.asarray(image.convert("RGBA" if "A" in image.mode else "RGB"))[:, :, :3]
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]
