"""A sheet of pictures with words: rows of tiles under a title, dark, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.png import class_colour

Picture = npt.NDArray[np.uint8]
Colour = npt.NDArray[np.uint8]

PAGE, CARD, INK, DIM = (18, 21, 27), (27, 32, 41), (232, 235, 240), (150, 160, 176)
SIDE, GAP, EDGE = 236, 10, 28
"""Pixels of a tile's side, between tiles, and round the sheet."""
TITLE, TEXT, SMALL = 24, 15, 13
LINE = 20
CORNERS = ("la", "ra", "rd", "ld")
"""Where numbers of frames go, in turn: Pillow's anchors, left or right, ascent or descent."""
SHOWN_SHARE = 0.3
"""A class is outlined where it covers so much of a cell: less than half, for small targets."""


@dataclass(frozen=True)
class Tile:
    """A (h, w, 3) uint8 RGB picture, and lines of words under it."""

    picture: Colour
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Tiles side by side under a line of words, which may be empty."""

    tiles: Sequence[Tile]
    words: str = ""

    @property
    def tall(self) -> int:
        """Height of the tallest picture in pixels."""
        return max(len(tile.picture) for tile in self.tiles)


@dataclass(frozen=True)
class Sheet:
    """A title, lines that explain, the names of the classes 1.. in their colours, and rows."""

    title: str
    notes: Sequence[str]
    classes: Sequence[str]
    rows: Sequence[Row]


def outlined(picture: Picture, shares: npt.NDArray[np.float32]) -> Colour:
    """Return an (h, w) or (h, w, 3) picture as a tile in RGB, each class of the shares outlined.

    ``shares`` are (K, h, w).
    """
    fit = SIDE / max(picture.shape)
    size = max(1, round(picture.shape[1] * fit)), max(1, round(picture.shape[0] * fit))
    way = cv2.INTER_AREA if fit < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(picture, size, interpolation=way)
    if tile.ndim == 2:
        tile = cv2.cvtColor(tile, cv2.COLOR_GRAY2RGB)
    for number, share in enumerate(shares, 1):
        large = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR) >= SHOWN_SHARE
        lines, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, lines, -1, class_colour(number), 1)
    return np.asarray(tile, np.uint8)


def framed(
    tile: Colour, boxes: Sequence[tuple[float, float, float, float]], scale: tuple[float, float]
) -> Colour:
    """Return a tile with numbered frames; boxes are xyxy in pixels of the image.

    ``scale`` is the tile's pixels for a pixel of the image, across and down.
    """
    image = Image.fromarray(tile)
    draw = ImageDraw.Draw(image)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        left, top = x0 * scale[0], y0 * scale[1]
        right, bottom = max(left, x1 * scale[0] - 1), max(top, y1 * scale[1] - 1)
        draw.rectangle((left, top, right, bottom), outline=INK)
        corner = CORNERS[number % len(CORNERS)]
        place = right - 3 if corner[0] == "r" else left + 3, bottom if corner[1] == "d" else top
        draw.text(
            place, str(number + 1), INK, _font(SMALL), corner, stroke_width=2, stroke_fill=PAGE
        )
    return np.asarray(image)


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Draw a sheet and write it as PNG, whole or not at all."""
    columns = max(len(row.tiles) for row in sheet.rows)
    width = 2 * EDGE + columns * (SIDE + GAP) - GAP
    heights = [_row_height(row) for row in sheet.rows]
    top = EDGE + TITLE + 14 + LINE * (len(sheet.notes) + 1) + 22
    canvas = Image.new("RGB", (max(width, 900), top + sum(heights) + EDGE - GAP), PAGE)
    draw = ImageDraw.Draw(canvas)
    _head(draw, sheet, canvas.width)
    for row, height in zip(sheet.rows, heights, strict=True):
        _draw_row(canvas, draw, row, top)
        top += height
    write_atomically(path, lambda file: canvas.save(file, "PNG"))


def _row_height(row: Row) -> int:
    lines = max(len(tile.words) for tile in row.tiles)
    return (LINE + 6 if row.words else 0) + row.tall + LINE * lines + 6 * bool(lines) + 2 * GAP


def _head(draw: ImageDraw.ImageDraw, sheet: Sheet, width: int) -> None:
    top = EDGE
    draw.text((EDGE, top), sheet.title, INK, _font(TITLE))
    top += TITLE + 14
    for note in sheet.notes:
        draw.text((EDGE, top), _cut(note, TEXT, width - 2 * EDGE), DIM, _font(TEXT))
        top += LINE
    left, top = float(EDGE), top + 6
    for number, name in enumerate(sheet.classes, 1):
        draw.rectangle((left, top + 3, left + 12, top + 15), class_colour(number))
        draw.text((left + 20, top), name, INK, _font(TEXT))
        left += 20 + _font(TEXT).getlength(name) + 24


def _draw_row(canvas: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    if row.words:
        draw.text((EDGE, top), _cut(row.words, TEXT, canvas.width - 2 * EDGE), INK, _font(TEXT))
        top += LINE + 6
    for number, tile in enumerate(row.tiles):
        left = EDGE + number * (SIDE + GAP)
        height, width = tile.picture.shape[:2]
        draw.rectangle((left, top, left + SIDE - 1, top + row.tall - 1), CARD)
        canvas.paste(
            Image.fromarray(tile.picture),
            (left + (SIDE - width) // 2, top + (row.tall - height) // 2),
        )
        for line, words in enumerate(tile.words):
            place = left, top + row.tall + 6 + LINE * line
            short = _cut(words, SMALL, SIDE) if line else _middle_cut(words, SMALL, SIDE)
            draw.text(place, short, DIM if line else INK, _font(SMALL))


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _cut(words: str, size: int, width: int) -> str:
    """Return words as one line that fits into a width in pixels."""
    font, words = _font(size), " ".join(words.split())
    if font.getlength(words) <= width:
        return words
    while words and font.getlength(words + " ...") > width:
        words = words[:-1]
    return words + " ..."


def _middle_cut(name: str, size: int, width: int) -> str:
    """Return a name that fits into a width in pixels; names of a series differ at their ends."""
    font, kept = _font(size), len(name)
    short = name
    while kept > 2 and font.getlength(short) > width:
        kept -= 1
        short = f"{name[: kept // 2]}...{name[len(name) - (kept - kept // 2) :]}"
    return short
