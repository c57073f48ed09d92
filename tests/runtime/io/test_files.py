"""Images in and masks out: formats, rules, refusals, names, and writing whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import read_image
from foveate.runtime.io.png import write_mask
from tests.bad.images import encoded
from tests.soak.mutator import specimens

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


DEEP = GREY.astype(np.uint16) * 273
HIDDEN = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])
STORED: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "grey": (GREY, GREY),
    "16 bit": (DEEP, DEEP),
    "1 bit": (GREY > 90, (GREY > 90) * np.uint8(255)),
    "16-bit colour": (np.dstack([DEEP] * 3), DEEP),
    "transparent": (HIDDEN, GREY),
}


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *(("png", kind) for kind in STORED),
        *(("tif", kind) for kind in STORED),
        *(("bmp", kind) for kind in ("grey", "1 bit")),
        *(("webp", kind) for kind in ("grey",)),
    ],
)
def test_a_lossless_file_is_read_as_it_was_stored(tmp_path: Path, suffix: str, kind: str) -> None:
    stored, expected = STORED[kind]
    path = tmp_path / f"a.{suffix}"
    if stored.dtype == np.uint16:
        cv2.imwrite(str(path), stored)
    else:
        Image.fromarray(stored).save(path, lossless=True)
    found = read_image(path)
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(int) - expected).max() <= (kind == "16-bit colour")


def test_grey_with_transparency_palette_and_interlaced(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("LA").save(tmp_path / "a.png")
    Image.fromarray(GREY).convert("P").save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), GREY)
    (tmp_path / "i.png").write_bytes(specimens(np.random.default_rng(0))["png interlaced"][1])
    with Image.open(tmp_path / "i.png") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "i.png"), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_becomes_luma(tmp_path: Path, mode: str) -> None:
    Image.new("RGB", (5, 4), (200, 100, 50)).convert(mode).save(tmp_path / "a.png")
    luma, bound = 0.299 * 200 + 0.587 * 100 + 0.114 * 50, 30 if mode == "P" else 1
    found = read_image(tmp_path / "a.png")
    assert found.shape == (4, 5) and np.abs(found.astype(float) - luma).max() <= bound


@pytest.mark.parametrize(("orientation", "upright"), [(3, (20, 40)), (6, (40, 20))])
def test_the_orientation_of_a_tiff_is_applied(
    tmp_path: Path, orientation: int, upright: tuple[int, int]
) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:10, :20] = 200  # upper left as stored
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.tif", exif=exif)
    found, header = read_image(tmp_path / "a.tif"), read_header(tmp_path / "a.tif")
    assert found.shape == upright == (header.height, header.width)
    where = {3: (15, 30), 6: (5, 15)}[orientation]  # lower right; upper right
    assert found[where] > 150 and found[3, 3] < 50


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy(tmp_path: Path, suffix: str) -> None:
    smooth = cv2.resize(GREY, (64, 48), interpolation=cv2.INTER_LINEAR)
    Image.fromarray(smooth).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(read_image(tmp_path / f"a.{suffix}").astype(int) - smooth).mean() < 3


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
    if kind == "JPEG":  # its own luma
        expected = cv2.imread(str(tmp_path / "a"), cv2.IMREAD_GRAYSCALE)
    else:
        expected = cv2.cvtColor(cv2.imread(str(tmp_path / "a")), cv2.COLOR_BGR2GRAY)
    found, header = read_image(tmp_path / "a"), read_header(tmp_path / "a")
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (header.height, header.width)


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
