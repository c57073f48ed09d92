"""Images in and masks out: formats, rules, refusals, names, and writing whole or not at all."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import MAX_PIXELS, read_header
from foveate.runtime.io.images import read_image
from foveate.runtime.io.png import write_mask

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_lossless_8_bit(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY).save(tmp_path / f"a.{suffix}", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_lossless_16_bit(tmp_path: Path, suffix: str) -> None:
    pixels = GREY.astype(np.uint16) * 273
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), pixels)
    found = read_image(tmp_path / f"a.{suffix}")
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy(tmp_path: Path, suffix: str) -> None:
    smooth = cv2.resize(GREY, (64, 48), interpolation=cv2.INTER_LINEAR)
    Image.fromarray(smooth).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_becomes_luma_and_transparency_is_dropped(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (5, 4), (200, 100, 50)).convert(mode).save(tmp_path / "a.png")
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    found = read_image(tmp_path / "a.png")
    assert found.shape == (4, 5) and np.abs(found.astype(float) - luma).max() <= (
        1 if mode != "P" else 30
    )


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(("orientation", "upright"), [(3, (20, 40)), (6, (40, 20))])
def test_exif_orientation_is_applied(
    tmp_path: Path, kind: str, orientation: int, upright: tuple[int, int]
) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:10, :20] = 200  # upper left as stored
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{kind}", exif=exif)
    found = read_image(tmp_path / f"a.{kind}")
    header = read_header(tmp_path / f"a.{kind}")
    assert found.shape == upright == (header.height, header.width)
    where = {3: (15, 30), 6: (5, 15)}[orientation]  # lower right; upper right
    assert found[where] > 150 and found[3, 3] < 50


def test_transparency_is_dropped_in_a_tiff_too(tmp_path: Path) -> None:
    hidden = np.full((4, 5, 4), 120, np.uint8)
    hidden[:, :, 3] = 0
    for name in ("a.tif", "a.png"):
        Image.fromarray(hidden).save(tmp_path / name)
        assert (read_image(tmp_path / name) == 120).all()


@pytest.mark.parametrize("kind", ["tif", "png", "bmp"])
def test_one_bit_becomes_0_and_255(tmp_path: Path, kind: str) -> None:
    Image.fromarray(GREY > 90).save(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{kind}"), (GREY > 90) * 255)


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_16_bit_colour_keeps_its_depth(tmp_path: Path, kind: str) -> None:
    cv2.imwrite(str(tmp_path / f"a.{kind}"), np.full((4, 5, 3), 40_000, np.uint16))
    found = read_image(tmp_path / f"a.{kind}")
    assert found.dtype == np.uint16 and np.abs(found.astype(int) - 40_000).max() <= 1


def test_grey_with_transparency_and_palette_tiff(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("LA").save(tmp_path / "a.png")
    Image.fromarray(GREY).convert("P").save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), GREY)


def test_interlaced_png(tmp_path: Path) -> None:
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    lines = b""
    for row, column, down, right in passes:
        part = GREY[row::down, column::right]
        lines += b"".join(b"\0" + line.tobytes() for line in part if part.size)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 8, 0, 0, 0, 1)),
              (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]  # fmt: skip
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", zlib.crc32(name + content))
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), GREY)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(GREY).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.jpg")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for name in ("pages.tif", "moving.png", "moving.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "gif.png", "GIF")
    words = {
        "text.png": "is not an image", "empty.png": "is empty", "folder.png": "is a folder",
        "cut.png": "cut short", "cmyk.jpg": 'mode "CMYK"', "float.tif": 'mode "F"',
        "pages.tif": "has 2 pages", "moving.png": "has 2 pages", "moving.webp": "has 2 pages",
        "gif.png": "is not an image", "none.png": "no such file",
    }  # fmt: skip
    for name, reason in words.items():
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_with_a_bad_marker(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + b"\xff\xc4\x00\x04\x01\x02" * 60 + data[half + 360 :]


def webp_of_half_a_frame(data: bytes) -> bytes:
    """Return a WebP whose second half is noise, with more bytes behind its end."""
    half = len(data) // 2
    return data[:half] + np.random.default_rng(0).bytes(len(data) - half) + bytes(2000)


@pytest.mark.parametrize(
    ("kind", "harm"), [("JPEG", jpeg_with_a_bad_marker), ("WEBP", webp_of_half_a_frame)]
)
def test_what_opencv_decodes_in_part_is_refused(
    tmp_path: Path, kind: str, harm: Callable[[bytes], bytes]
) -> None:
    """OpenCV gives a picture of these bytes, half of it grey or noise, and says nothing."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    data = encoded(kind, Image.fromarray(cv2.GaussianBlur(noise, (5, 5), 2)))
    harmed = harm(data)
    sound, partial = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        for content in (data, harmed)
    )
    assert partial.shape == sound.shape and not np.array_equal(partial, sound)
    (tmp_path / "a").write_bytes(harmed)
    with pytest.raises(ImageError, match="is damaged"):
        read_image(tmp_path / "a")


@pytest.mark.parametrize("upright", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_every_decoder_turns_an_image_as_opencv_does(
    tmp_path: Path, kind: str, upright: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 31, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = upright
    (tmp_path / "a").write_bytes(encoded(kind, Image.fromarray(noise), exif=exif.tobytes()))
    wanted = cv2.imread(str(tmp_path / "a"), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), wanted)


def test_a_png_whose_chunk_is_longer_than_the_file_is_refused_at_once(tmp_path: Path) -> None:
    """OpenCV would reserve the two gigabytes that the chunk claims."""
    data = encoded("PNG", Image.fromarray(GREY))
    place = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:place] + b"\x7f\xff\xff\xff" + data[place + 4 :])
    with pytest.raises(ImageError, match="is damaged"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("compression", [5, 8])
def test_damage_in_a_tiff_of_deep_colour_is_refused(tmp_path: Path, compression: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65535, (40, 50, 3)).astype(np.uint16)
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), deep, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert read_image(path).dtype == np.uint16
    data = path.read_bytes()
    path.write_bytes(data[:1000] + b"\xff" * 200 + data[1200:])
    with pytest.raises(ImageError, match="is damaged"):
        read_image(path)


def test_a_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 300_000
    with pytest.raises(ImageError, match=f"30000x30000 pixels; the limits are .* {MAX_PIXELS}"):
        read_image(tmp_path / "bomb.png")


def test_binary_masks_are_one_bit_0_and_255(tmp_path: Path) -> None:
    mask = (GREY > 100).astype(np.uint8)
    write_mask(tmp_path / "m.png", mask, 2)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "1"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "m.png"), 0), mask * 255)


def test_class_masks_hold_indices_with_a_palette(tmp_path: Path) -> None:
    mask = (GREY % 3).astype(np.uint8)
    write_mask(tmp_path / "m.png", mask, 3)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), mask)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(b"old")

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.png"]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_quick_header_is_pillows(tmp_path: Path, depth: type) -> None:
    cv2.imwrite(str(tmp_path / "plain.png"), GREY.astype(depth))
    with Image.open(tmp_path / "plain.png") as image:
        header = read_header(tmp_path / "plain.png")
        assert (header.width, header.height, header.mode) == (*image.size, image.mode)
    known = replace(header, width=9)
    with pytest.raises(ImageError, match="decodes to 8x6 pixels; its header said 9x6"):
        read_image(tmp_path / "plain.png", 0, known)
