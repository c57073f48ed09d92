"""Files as people bring them: each kind gives the pixels that were stored, or is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import image_in_memory, read_image
from foveate.runtime.io.inputs import find_items
from foveate.runtime.io.window import Window
from foveate.train.data.masks import read_mask
from tests.bad.images import encoded
from tests.runtime.io.tiffs import Tags, tiff_file

RAMP = np.linspace(10, 245, 48 * 64).reshape(48, 64).astype(np.uint8)
REDUCED: Tags = {254: 1}
SMALL = np.ascontiguousarray(RAMP[::4, ::4])
COLOURS = np.dstack([RAMP, RAMP[::-1], np.roll(RAMP, 20, 1)])  # R, G, B
GREY = cv2.cvtColor(COLOURS, cv2.COLOR_RGB2GRAY)
TURN = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def chunk(kind: bytes, content: bytes, check: int | None = None) -> bytes:
    """Return a chunk of a PNG; ``check`` is another sum than its own."""
    check = zlib.crc32(kind + content) if check is None else check
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png_with(data: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with more chunks before its pixels."""
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg_with(data: bytes, marker: int, content: bytes) -> bytes:
    """Return a JPEG with another segment at its start."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pages", [
    [(RAMP, {}), (SMALL, REDUCED)],
    [(SMALL, REDUCED), (RAMP, {})],
    [(RAMP, {}), (SMALL, {255: 2}), (RAMP, {254: 4})],
    [(RAMP, {270: b"Aperio Image Library v1\n64x48\0"}), (SMALL, {}), (SMALL[::2], {})],
    [(RAMP, {254: 1})],
    [(RAMP, {330: 8})],
])  # fmt: skip
def test_copies_of_an_image_are_not_pages(
    tmp_path: Path, pages: list[tuple[np.ndarray, Tags]], order: str
) -> None:
    """Thumbnails, levels of a pyramid and masks of transparency, before the image and behind it."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_file(pages, order))
    assert [(item.name, item.page) for item in find_items([str(path)], tmp_path / "out")] == [
        ("a", 0)
    ]
    np.testing.assert_array_equal(read_image(path), RAMP)
    header = read_header(path)
    assert (header.height, header.width) == RAMP.shape


def test_the_pages_of_a_stack_with_thumbnails(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_file([(RAMP, {}), (SMALL, REDUCED), (deep, {}), (SMALL, REDUCED)], ">"))
    items = find_items([str(path)], tmp_path / "out")
    assert [item.name for item in items] == ["a.p1", "a.p2"]
    for item, expected in zip(items, [RAMP, deep], strict=True):
        np.testing.assert_array_equal(read_image(item.path, item.page), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("missing", [{273: [8, 0]}, {273: [8]}, {279: [0, 0], 273: [0, 8]}])
def test_a_tiff_without_some_of_its_strips_is_refused(dtype: type, missing: Any) -> None:
    """Decoders leave a hole, or take the file's first bytes for pixels."""
    data = tiff_file([(RAMP.astype(dtype), missing)], strips=2)
    with pytest.raises(ImageError, match="has 1 of its 2 strips or tiles"):
        image_in_memory(data)


def test_a_tiff_that_does_not_say_where_its_strips_are_is_refused() -> None:
    for pixels in (RAMP, RAMP.astype(np.uint16), RAMP.astype(np.float32)):
        with pytest.raises(ImageError, match="is damaged|is not an image"):
            image_in_memory(tiff_file([(pixels, {273: []})]), window=Window(0, 1))


def test_a_tiff_whose_last_strip_is_cut_is_refused() -> None:
    data = tiff_file([(RAMP, {})], strips=2)
    shifted = tiff_file([(RAMP, {273: [8, len(data) - 100]})], strips=2)
    with pytest.raises(ImageError, match="is cut short"):
        image_in_memory(shifted)


@pytest.mark.parametrize("deep", [False, True])
def test_the_grey_of_colours_is_one_in_every_container(deep: bool) -> None:
    """Whatever a PNG says of gamma and profiles."""
    bgr = np.ascontiguousarray(COLOURS[:, :, ::-1])
    png = cv2.imencode(".png", bgr.astype(np.uint16) * 257 if deep else bgr)[1].tobytes()
    profile = b"p\0\0" + zlib.compress(bytes(500))
    files = [
        png,
        png_with(png, chunk(b"gAMA", struct.pack(">I", 45455))),
        png_with(png, chunk(b"iCCP", profile), chunk(b"cHRM", bytes(32))),
        png_with(png, chunk(b"sRGB", b"\0"), chunk(b"cICP", b"\x09\x10\0\1")),
    ]
    if not deep:
        files += [encoded(kind, Image.fromarray(COLOURS)) for kind in ("BMP", "TIFF")]
        files += [encoded("WEBP", Image.fromarray(COLOURS), lossless=True)]
    expected = cv2.cvtColor(bgr.astype(np.uint16) * 257, cv2.COLOR_BGR2GRAY) if deep else GREY
    for data in files:
        np.testing.assert_array_equal(image_in_memory(data), expected)


def test_the_grey_of_a_palette() -> None:
    few = Image.fromarray(COLOURS).quantize(16)
    expected = cv2.cvtColor(np.asarray(few.convert("RGB")), cv2.COLOR_RGB2GRAY)
    png = encoded("PNG", few)
    files = [png, png_with(png, chunk(b"gAMA", struct.pack(">I", 45455)))]
    files += [encoded(kind, few) for kind in ("BMP", "TIFF")]
    for data in files:
        np.testing.assert_array_equal(image_in_memory(data), expected)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_as_pillow_does(kind: str) -> None:
    data = encoded(kind, Image.fromarray(COLOURS).convert("CMYK"))
    with Image.open(io.BytesIO(data)) as image:
        expected = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(image_in_memory(data), expected)


def test_of_the_pictures_of_a_phone_the_first_is_the_image() -> None:
    first, second = Image.fromarray(RAMP), Image.fromarray(255 - RAMP)
    phone = encoded("MPO", first, save_all=True, append_images=[second], quality=95)
    expected = image_in_memory(encoded("JPEG", first, quality=95))
    np.testing.assert_array_equal(image_in_memory(phone), expected)
    motion = encoded("JPEG", first, quality=95) + b"\0\0\0\x18ftypmp42" + bytes(3000) + b"\xff\xd9"
    np.testing.assert_array_equal(image_in_memory(motion), expected)


def test_half_of_a_first_picture_is_refused() -> None:
    """libjpeg would fill it up, and the end mark of the second picture is there."""
    first, second = (encoded("JPEG", Image.fromarray(x), quality=95) for x in (RAMP, 255 - RAMP))
    for rest in (second, b"\xff\xd9" + second):
        with pytest.raises(ImageError, match="is cut short|is damaged"):
            image_in_memory(first[: len(first) * 3 // 4] + rest)


@pytest.mark.parametrize("tag", [
    b"not a tiff header",
    b"II*\0\xff\xff\xff\x7f",
    b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
    b"",
])  # fmt: skip
def test_a_broken_exif_costs_the_orientation_alone(tag: bytes) -> None:
    picture = Image.fromarray(RAMP)
    png = png_with(encoded("PNG", picture), chunk(b"eXIf", tag))
    np.testing.assert_array_equal(image_in_memory(png), RAMP)
    plain = encoded("JPEG", picture)
    jpeg = jpeg_with(plain, 0xE1, b"Exif\0\0" + tag)
    np.testing.assert_array_equal(image_in_memory(jpeg), image_in_memory(plain))
    webp = encoded("WEBP", picture, lossless=True, exif=tag)
    np.testing.assert_array_equal(image_in_memory(webp), RAMP)
    tiff = tiff_file([(RAMP, {34665: 0x7FFFFFFF, 700: tag + b"\0"})])
    np.testing.assert_array_equal(image_in_memory(tiff), RAMP)


@pytest.mark.parametrize(("marker", "content"), [
    (0xE0, b"JFIF\0"), (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"), (0xED, b"Photoshop 3.0\x008BIM\x03"),
    (0xEE, b"Adobe\0"), (0xE2, b"ICC_PROFILE\0"), (0xFE, b""),
])  # fmt: skip
def test_a_broken_segment_of_a_jpeg_costs_itself_alone(marker: int, content: bytes) -> None:
    data = encoded("JPEG", Image.fromarray(COLOURS))
    found = image_in_memory(jpeg_with(data, marker, content))
    np.testing.assert_array_equal(found, image_in_memory(data))


def test_a_broken_chunk_of_a_png_costs_itself_alone() -> None:
    png = encoded("PNG", Image.fromarray(RAMP))
    broken = png_with(
        png, chunk(b"pHYs", b"x"), chunk(b"tEXt", b"a\0b", check=1), chunk(b"tIME", b"")
    )
    np.testing.assert_array_equal(image_in_memory(broken), RAMP)


def test_the_orientation_in_xmp_is_not_applied() -> None:
    png = encoded("PNG", Image.fromarray(RAMP))
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + TURN)
    np.testing.assert_array_equal(image_in_memory(png_with(png, text)), RAMP)
    np.testing.assert_array_equal(image_in_memory(tiff_file([(RAMP, {700: TURN})])), RAMP)
    jpeg = encoded("JPEG", Image.fromarray(RAMP))
    turned = jpeg_with(jpeg, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + TURN)
    np.testing.assert_array_equal(image_in_memory(turned), image_in_memory(jpeg))


def test_an_orientation_behind_the_pixels_of_a_png_is_refused() -> None:
    """Some viewers apply it, and the size of an image is known by what comes before."""
    png = encoded("PNG", Image.fromarray(RAMP))
    for orientation, refused in ((1, False), (6, True)):
        late = png[:-12] + chunk(b"eXIf", exif(orientation)[6:]) + png[-12:]
        if refused:
            with pytest.raises(ImageError, match="has its EXIF orientation behind its pixels"):
                image_in_memory(late)
        else:
            np.testing.assert_array_equal(image_in_memory(late), RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_image(tmp_path: Path, orientation: int) -> None:
    half = np.zeros((24, 48), np.uint8)
    half[:12, :20] = 255
    for name in ("a.png", "a.tif", "a.webp"):
        path = tmp_path / name
        Image.fromarray(half).save(path, exif=exif(orientation), lossless=True)
        np.testing.assert_array_equal(read_mask(path), read_image(path))
