"""Images that give no mask: each is listed, the sound one next to it is written, exit code 1."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad.case import Case, Place
from tests.runtime.io.tiffs import imagej, tiff_file

GREY = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8))

OTHER = Image.eval(GREY, lambda value: 255 - value)


NOT_FINITE = np.array([[0.5, np.nan], [np.inf, -np.inf]], np.float32)
_FOUR = b"ImageJ=1.54f\nimages=4\n\0"
TURNED = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x112, 3, 1, 6) + bytes(4)


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


def png_of(size: tuple[int, int], pixels: bytes, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a grey PNG of a size and deflated pixels, with more chunks behind them."""
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in [(b"IHDR", header), (b"IDAT", pixels), *more, (b"IEND", b"")]:
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", zlib.crc32(name + content))
    return data


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG of some bytes whose header promises a size."""
    return png_of((width, height), zlib.compress(b"\0" * 100))


def jpeg_of_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    data = encoded("JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def tiff_of(tags: dict[int, int], pixels: bytes, counts: dict[int, int] | None = None) -> bytes:
    """Return a TIFF of 16x16 pixels of 8 bits, but for what ``tags`` and ``counts`` say."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1} | tags
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, (counts or {}).get(tag, 1), value or start)
        for tag, value in sorted(tags.items())
    )
    directory = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", 8) + directory + pixels


def tiff_of_tile(side: int) -> bytes:
    """Return a TIFF of 16x16 pixels in one deflated tile; 0 in a tag is where the pixels are."""
    pixels = zlib.compress(b"\x80" * 1000)
    return tiff_of({259: 8, 322: side, 323: side, 324: 0, 325: len(pixels)}, pixels)


def tiff_of_strips(count: int) -> bytes:
    """Return a TIFF of 16 rows that has places of many more."""
    strips = {273: 0, 278: 1, 279: 0}
    return tiff_of(strips, struct.pack("<I", 16) * count, {273: count, 279: count})


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

IMAGES = [
    image("a file that is not there", "no such file or folder", "none.png", lambda path: None),
    image("a folder named like an image", "is a folder, not an image", "f.png", Path.mkdir),
    image("a pipe or a device", "is a device or a pipe; expected a plain file", "p.png",
          lambda path: os.mkfifo(path)),
    image("a link that leads to itself", "cannot be read: Too many levels of symbolic links",
          "l.png", lambda path: path.symlink_to(path.name)),
    holding("an empty file", "is empty (0 bytes); expected .png, …", "e.png", b""),
    holding("text named like an image", "is not an image in a supported format; …", "t.png",
            b"hi"),
    holding("a PNG cut short", _CUT, "c.png", cut(encoded("PNG"))),
    holding("a JPEG cut short", _CUT, "c.jpg", cut(encoded("JPEG"))),
    holding("a TIFF cut short", _CUT, "c.tif", cut(encoded("TIFF"))),
    holding("a TIFF without one of its strips",
            "has 1 of its 2 strips or tiles; the others are missing. Save it again", "c.tif",
            tiff_of({273: 0, 278: 8}, bytes(256))),
    holding("a WebP cut short", "is not an image in a supported format; …", "c.webp",
            cut(encoded("WEBP"))),
    holding("a PNG with one bit flipped", _DAMAGED, "d.png", flipped(encoded("PNG"))),
    holding("a TIFF of CIELab colours",
            'has pixels of mode "LAB"; expected grey, RGB, RGBA, palette or CMYK of 8 bits. …',
            "l.tif", encoded("TIFF", Image.new("LAB", (8, 8)))),
    holding("a TIFF of signed, 32-bit or float values, without --window",
            "has float32 values from 0 to 254; expected 8 or 16 bit unsigned, or the values that "
            "are black and white: --window 0,254 (in training --set window=0,254)", "f.tif",
            encoded("TIFF", GREY.convert("F"))),
    holding("NaN or infinite pixels",
            "has 1 NaN and 2 infinite pixels; expected finite numbers. Replace them in the file",
            "n.tif", encoded("TIFF", Image.fromarray(NOT_FINITE))),
    holding("a PNG with an EXIF orientation behind its pixels",
            "has its EXIF orientation behind its pixels; expected it before them. Save it again",
            "o.png", png_of((8, 8), zlib.compress(bytes(72)), [(b"eXIf", TURNED)])),
    holding("an animated PNG", "has 2 pages; expected one. Save each page …", "m.png",
            encoded("PNG", save_all=True, append_images=[OTHER])),
    holding("a photograph in HEIC", "is HEIC, AVIF or a video; expected JPEG or PNG. …", "h.jpg",
            b"\0\0\0\x18ftypheic" + bytes(500)),
    holding("an animated WebP", "has 2 pages; expected one. Save each page …", "m.webp",
            encoded("WEBP", save_all=True, append_images=[OTHER])),
    holding("a TIFF of several pages cut short",
            "is damaged: its chain of pages leaves the file at page 2. Copy it again", "m.tif",
            _PAGES[: len(_PAGES) // 2]),
    holding("a stack of ImageJ cut short",
            "says that it has 9 planes, and has 4. Copy it again, or save each plane as its own …",
            "m.tif", imagej(np.stack([np.asarray(GREY)] * 4), 9)),
    holding("a stack of ImageJ whose directory is behind its planes",
            "has one directory for 4 planes, and it is not before them. Save each plane as its …",
            "m.tif", tiff_file([(np.asarray(GREY), {257: 15, 270: _FOUR, 278: 15, 279: 1200})])),
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
    holding("a PNG of more pixels than its header says",
            "has 80016 bytes of compressed pixels; the limit for its size is 65626. Save it again",
            "b.png", png_of((8, 8), zlib.compress(bytes(80_000), 0))),
    holding("a PNG of 20,000 chunks",
            "has more than 10234 chunks; that is the limit. Save it again", "b.png",
            png_of((8, 8), zlib.compress(bytes(72)), [(b"teSt", b"")] * 20_000)),
    holding("a JPEG of 200 scans", "has over 100 scans; that is the limit for its size. …",
            "b.jpg", jpeg_of_scans(200)),
    holding("a JPEG of 20,000 segments", "has over 10000 segments; that is the limit. …",
            "b.jpg", encoded("JPEG").replace(b"\xff\xdb", b"\xff\xe5\0\2" * 20_000 + b"\xff\xdb")),
    holding("a JPEG with 100,000 bytes of nothing",
            "has over 65536 bytes between its segments; that is the limit. …", "b.jpg",
            encoded("JPEG").replace(b"\xff\xdb", b"\xff" * 100_000 + b"\xdb", 1)),
    holding("a JPEG with 1,000 fill bytes in its scan",
            "has over 256 fill bytes in a scan; that is the limit. …", "b.jpg",
            encoded("JPEG")[:-2] + b"\xff" * 1_000 + b"\xd9"),
    holding("a JPEG cut in its scan that has an end mark", _DAMAGED, "c.jpg",
            cut(encoded("JPEG")) + b"\xff\xd9"),
    holding("a progressive JPEG without its last scans", _CUT, "c.jpg",
            cut(encoded("JPEG", progressive=True)) + b"\xff\xd9"),
    holding("a TIFF of 151 bytes with a tile of gigabytes",
            "has tiles of 40000x40000 pixels in an image of 16x16; the limit is 2048 a side. …",
            "b.tif", tiff_of_tile(40_000)),
    holding("a TIFF of 16 rows in 40,000 strips",
            "has 40000 strips or tiles; the limit for its size is 1040. Save it again", "b.tif",
            tiff_of_strips(40_000)),
    holding("a TIFF of 16-bit grey and transparency",
            "has 2 channels; expected grey or RGB. …",
            "a.tif", tiff_of({258: 16, 273: 0, 277: 2, 279: 1024, 338: 2}, bytes(1024))),
    holding("a TIFF of 12-bit grey in tiles",
            "has grey pixels of 12 bits in tiles or compressed by pixels; …", "t.tif",
            tiff_of({258: 12, 322: 16, 323: 16, 324: 0, 325: 384}, bytes(384))),
]  # fmt: skip
