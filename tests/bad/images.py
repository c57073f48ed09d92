"""Images that give no mask: each is listed, the sound one beside it is written, exit code 1."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad.case import Case, Place

GREY = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8))

OTHER = Image.eval(GREY, lambda value: 255 - value)


def encoded(kind: str, image: Image.Image = GREY, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """Return a file with one bit of its pixels turned over."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG of some bytes whose header promises a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    pixels = b"IDAT" + zlib.compress(b"\0" * 100)
    body = struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", len(pixels) - 4) + pixels
    end = struct.pack(">I", zlib.crc32(pixels)) + b"\0\0\0\0IEND\xaeB`\x82"
    return start + body + end


def tiff_of_pages(following: list[int | None]) -> bytes:
    """Return a TIFF of 1x1 pages with the page that follows each, all with the same pixel."""
    tags = [
        (256, 1),
        (257, 1),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, 1),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    size = 2 + len(entries) + 4
    places = [10 + size * index for index in range(len(following))]
    data = b"II*\0" + struct.pack("<I", places[0]) + b"\x80\0"
    for page in following:
        link = 0 if page is None else places[page]
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", link)
    return data


def image(given: str, said: str, name: str, spoil: Callable[[Path], object]) -> Case:
    """Return the case of a folder with a sound image and a bad one."""

    def make(place: Place) -> list[object]:
        folder = place.folder / "in"
        folder.mkdir()
        (folder / "sound.png").write_bytes(place.image().read_bytes())
        spoil(folder / name)
        return ["segment", place.bundle, folder, folder / name, "--out", place.folder / "out"]

    return Case(given, said, 1, make)


def holding(given: str, said: str, name: str, data: bytes) -> Case:
    return image(given, said, name, lambda path: path.write_bytes(data))


_CUT = "is cut short: its end is missing. Copy it again"
_DAMAGED = "is damaged: its header is sound, its pixels cannot be decoded"
_PAGES = encoded("TIFF", save_all=True, append_images=[GREY])
_DEFLATED = encoded("TIFF", compression="tiff_adobe_deflate")

IMAGES = [
    image("a file that is not there", "no such file or folder", "none.png", lambda path: None),
    image("a folder named like an image", "is a folder, not an image", "f.png", Path.mkdir),
    image("a pipe or a device", "is a device or a pipe; wanted a plain file", "p.png",
          lambda path: os.mkfifo(path)),
    image("a link that leads to itself", "cannot be read: Too many levels of symbolic links",
          "l.png", lambda path: path.symlink_to(path.name)),
    holding("an empty file", "is empty (0 bytes); wanted .png, …", "e.png", b""),
    holding("text named like an image", "is not an image in a format known here; …", "t.png",
            b"hi"),
    holding("a PNG cut short", _CUT, "c.png", cut(encoded("PNG"))),
    holding("a PNG without its last byte", _CUT, "c.png", encoded("PNG")[:-1]),
    holding("a JPEG cut short", _CUT, "c.jpg", cut(encoded("JPEG"))),
    holding("a progressive JPEG cut", _CUT, "c.jpg", cut(encoded("JPEG", progressive=True))),
    holding("a TIFF cut short", _DAMAGED, "c.tif", cut(encoded("TIFF"))),
    holding("a BMP cut short", _DAMAGED, "c.bmp", cut(encoded("BMP"))),
    holding("a WebP cut short", "is not an image in a format known here; …", "c.webp",
            cut(encoded("WEBP"))),
    holding("one bit of a PNG turned over", _DAMAGED, "d.png", flipped(encoded("PNG"))),
    holding("one bit of a deflated TIFF turned over", _DAMAGED, "d.tif", flipped(_DEFLATED)),
    holding("a CMYK JPEG", 'has pixels of mode "CMYK"; wanted 8 or 16 bit grey, …', "i.jpg",
            encoded("JPEG", GREY.convert("CMYK"))),
    holding("a TIFF of float or 32-bit numbers", 'has pixels of mode "F"; wanted …', "f.tif",
            encoded("TIFF", GREY.convert("F"))),
    holding("an animated PNG", "has 2 pages; wanted one. Save each page …", "m.png",
            encoded("PNG", save_all=True, append_images=[OTHER])),
    holding("an animated WebP", "has 2 pages; wanted one. Save each page …", "m.webp",
            encoded("WEBP", save_all=True, append_images=[OTHER])),
    holding("a GIF named like an image", "is not an image in a format known here; …", "g.png",
            encoded("GIF")),
    holding("a TIFF of several pages not named .tif", "has 2 pages; wanted one. …", "m.png",
            _PAGES),
    holding("a TIFF of several pages cut short",
            "is damaged: its chain of pages leaves the file at page 2. Copy it again", "m.tif",
            _PAGES[: len(_PAGES) // 2]),
    holding("a TIFF whose pages go in a circle",
            "is damaged: its chain of pages is a circle after page 3. Write it again", "m.tif",
            tiff_of_pages([1, 2, 0])),
    holding("a TIFF of more than 10,000 pages",
            "has more than 10000 pages; that is the limit. Split it", "m.tif",
            tiff_of_pages([*range(1, 10_001), None])),
    holding("a side over 32,768 pixels",
            "is 40000x2 pixels; the limits are 32768 a side and 536870912 pixels in all. …",
            "w.png", encoded("PNG", Image.new("L", (40_000, 2)))),
    holding("a bomb: 200 bytes that promise 60000x60000",
            "is 60000x60000 pixels; the limits are …", "b.png", png_of_size(60_000, 60_000)),
    holding("a PNG whose part promises 2 GB", _DAMAGED, "h.png",
            encoded("PNG").replace(b"\0\0\0\0IEND", b"\x7f\xff\xff\xf0tEXt\0\0\0\0IEND")),
    holding("a PNG whose header promises too much", _DAMAGED, "h.png", png_of_size(900, 900)),
]  # fmt: skip
