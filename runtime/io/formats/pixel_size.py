"""The physical size of a pixel: what a file says of it, and how it is written."""

from __future__ import annotations

import html
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from foveate.runtime.errors import SettingsError

MILLIMETRES = {
    "nm": 1e-6, "nanometer": 1e-6,
    "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3,
    "mm": 1.0, "millimeter": 1.0,
    "cm": 10.0, "m": 1000.0, "meter": 1000.0,
}  # fmt: skip
"""Units as people and programs write them. An inch is not among them: it means dots in print."""
_LEAST, _MOST = 1e-9, 1e9
"""Millimetres that a pixel may have."""
_TEXT = re.compile(r"([\d.]+(?:e[-+]?\d+)?)(?:x([\d.]+(?:e[-+]?\d+)?))?\s*([^\W\d_]+)")
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_SIZE = re.compile(r"""\bPhysicalSize([XY](?:Unit)?)\s*=\s*["']([^"']*)""")
_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.MULTILINE)
_CENTIMETRE, _METRE = 3, 1
"""The unit of a resolution in a TIFF, and in a PNG."""
_DPI = {10: (60, 720), 24: (24, 720), 600: (1200, 4800)}
"""Step -> the least and the greatest of its multiples that are dots per inch in print."""


@dataclass(frozen=True)
class PixelSize:
    """Width and height of a pixel in millimetres."""

    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> PixelSize:
        """Return the size written as ``0.5um`` or ``0.25x0.5mm``, width first; SettingsError."""
        found = _TEXT.fullmatch(text.strip())
        size = None
        if found and found[3] in MILLIMETRES:
            try:
                width, height = (float(side) for side in (found[1], found[2] or found[1]))
            except ValueError:
                width = height = 0.0
            size = plausible(width * MILLIMETRES[found[3]], height * MILLIMETRES[found[3]])
        if size is None:
            raise SettingsError(
                f'pixel size is "{text}"; expected a length with nm, um, mm, cm or m, such as '
                "0.5um, or width and height, such as 0.25x0.5mm"
            )
        return size

    def __str__(self) -> str:
        unit, factor = ("um", 1000) if max(self.width, self.height) < 0.1 else ("mm", 1)
        sides = [f"{side * factor:.6g}" for side in (self.width, self.height)]
        return "x".join(dict.fromkeys(sides)) + unit

    @property
    def xy_mm(self) -> list[float]:
        """Width and height in millimetres to nine digits, for JSON."""
        return [float(f"{side:.9g}") for side in (self.width, self.height)]

    @property
    def transposed(self) -> PixelSize:
        return PixelSize(self.height, self.width)

    def phys(self) -> bytes:
        """Return the content of a PNG's pHYs chunk; none for pixels over 10 mm or under 1 nm.

        It counts whole pixels a metre, so that is within 0.5% of the size.
        """
        dots = [round(1000 / side) for side in (self.width, self.height)]
        if not 100 <= min(dots) <= max(dots) <= 10**9:
            return b""
        return struct.pack(">IIB", *dots, _METRE)


def plausible(width: float, height: float) -> PixelSize | None:
    """Return a size of so many millimetres, None where they are not lengths."""
    if _LEAST < width < _MOST and _LEAST < height < _MOST:
        return PixelSize(width, height)
    return None


def png_pixel_size(phys: bytes) -> PixelSize | None:
    """Return the size that the content of a pHYs chunk states; None for a printing resolution."""
    if len(phys) != 9:
        return None
    across, down, unit = struct.unpack(">IIB", phys)
    return _by_resolution((across, down), 1000.0) if unit == _METRE else None


def tiff_pixel_size(
    description: str, unit: int, resolution: Callable[[], tuple[float, float]]
) -> PixelSize | None:
    """Return the size that a TIFF states, None where it has none.

    By OME-XML in its description; by ImageJ's unit there; by a resolution per centimetre that is
    not one of printing. ``unit`` is the tag ResolutionUnit, ``resolution`` returns pixels per unit
    across and down, 0 where they are not stated.
    """
    if "<OME" in description or ":OME" in description:
        return _of_ome(description)
    found = _IMAGEJ_UNIT.search(description) if description.startswith("ImageJ=") else None
    if found is None:
        return _by_resolution(resolution(), 10.0) if unit == _CENTIMETRE else None
    name = found[1].strip().replace("\\u00B5", "\u00b5")
    length = MILLIMETRES.get(name)
    if length is None or "\nyunit=" in description:
        return None
    return _by_resolution(resolution(), length, printed=name == "cm")


def _of_ome(description: str) -> PixelSize | None:
    """Return the size that every image of OME-XML has; None where they differ or have none."""
    sizes = set()
    for element in _OME_PIXELS.findall(description):
        stated = {name: html.unescape(value) for name, value in _OME_SIZE.findall(element)}
        try:
            sides = [
                float(stated[axis]) * MILLIMETRES[stated.get(f"{axis}Unit", "um")] for axis in "XY"
            ]
        except (KeyError, ValueError):
            return None
        sizes.add(plausible(*sides))
    return sizes.pop() if len(sizes) == 1 else None


def _by_resolution(
    resolution: tuple[float, float], length: float, printed: bool = True
) -> PixelSize | None:
    """Return the size by pixels per ``length`` millimetres across and down.

    None for a resolution of printing, where it may be one.
    """
    if min(resolution) <= 0 or printed and any(_is_printed(25.4 * n / length) for n in resolution):
        return None
    across, down = resolution
    return plausible(length / across, length / down)


def _is_printed(dpi: float) -> bool:
    """Say whether dots per inch are as people choose them for print: 72, 96, 300 ..."""
    return any(
        least - 1 < dpi < most + 1 and abs(dpi - step * round(dpi / step)) < 0.3
        for step, (least, most) in _DPI.items()
    )
