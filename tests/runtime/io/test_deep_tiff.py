"""Grey TIFF of 9 to 16 bits: byte order, polarity and depth against what was stored."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import Pixels, image_in_memory, read_image

PICTURE = (np.arange(20 * 31).reshape(20, 31) * 109 % 65536).astype(np.uint16)
NATIVE, SWAPPED = "<", ">"


def tiff(
    raw: bytes, shape: tuple[int, int], order: str, tags: dict[int, int], pages: int = 1
) -> bytes:
    """Return a TIFF of one strip a page, written by hand: no library writes all of these."""
    height, width = shape
    if tags.get(259) == 8:
        raw = zlib.compress(raw)
    start = b"II*\0" if order == NATIVE else b"MM\0*"
    data = start + struct.pack(order + "I", 8 + len(raw)) + raw
    for page in range(pages):
        entries = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height,
                   279: len(raw)} | tags  # fmt: skip
        link = len(data) + 2 + 12 * len(entries) + 4
        data += struct.pack(order + "H", len(entries))
        for tag, value in sorted(entries.items()):
            data += struct.pack(order + "HHII", tag, 4, 1, value)
        data += struct.pack(order + "I", link if page < pages - 1 else 0)
    return data


def packed(pixels: Pixels, bits: int) -> bytes:
    """Return pixels of some bits as a TIFF has them: high bits first, rows of whole bytes."""
    ones = pixels[:, :, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(ones.reshape(len(pixels), -1).astype(np.uint8), axis=1).tobytes()


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", [NATIVE, SWAPPED])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_16_bits_of_either_order_and_polarity(
    order: str, white_is_zero: bool, compression: int
) -> None:
    stored = 65535 - PICTURE if white_is_zero else PICTURE
    raw = stored.astype(f"{order}u2").tobytes()
    data = tiff(raw, PICTURE.shape, order, {259: compression, 262: int(not white_is_zero)})
    found = image_in_memory(data)
    assert found.dtype == np.uint16 and found.dtype.isnative
    np.testing.assert_array_equal(found, PICTURE)


@pytest.mark.parametrize("order", [NATIVE, SWAPPED])
def test_16_bits_with_a_predictor(order: str) -> None:
    steps = np.diff(PICTURE, axis=1, prepend=np.uint16(0))
    data = tiff(steps.astype(f"{order}u2").tobytes(), PICTURE.shape, order, {259: 8, 317: 2})
    np.testing.assert_array_equal(image_in_memory(data), PICTURE)


@pytest.mark.parametrize("order", [NATIVE, SWAPPED])
@pytest.mark.parametrize("bits", range(9, 16))
def test_9_to_15_bits_become_16(bits: int, order: str) -> None:
    kept = PICTURE >> (16 - bits) << (16 - bits)
    for white_is_zero, compression in ((False, 1), (True, 8)):
        stored = kept >> (16 - bits)
        stored = (1 << bits) - 1 - stored if white_is_zero else stored
        tags = {258: bits, 259: compression, 262: int(not white_is_zero)}
        data = tiff(packed(stored, bits), PICTURE.shape, order, tags)
        np.testing.assert_array_equal(image_in_memory(data), kept)
    if bits in (10, 12, 14):
        data = tiff(packed(kept >> (16 - bits), bits), PICTURE.shape, NATIVE, {258: bits})
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), flags), kept)


@pytest.mark.parametrize("orientation", [3, 6])
def test_12_bits_are_turned_upright(orientation: int, tmp_path: Path) -> None:
    tags = {258: 12, 274: orientation}
    (tmp_path / "a.tif").write_bytes(tiff(packed(PICTURE >> 4, 12), PICTURE.shape, NATIVE, tags))
    found, header = read_image(tmp_path / "a.tif"), read_header(tmp_path / "a.tif")
    upright = {3: PICTURE[::-1, ::-1], 6: np.rot90(PICTURE, -1)}[orientation]
    np.testing.assert_array_equal(found, upright >> 4 << 4)
    assert found.shape == (header.height, header.width)


@pytest.mark.parametrize(("bits", "raw"), [
    (12, packed(15 - (PICTURE >> 12), 12)),
    (16, (65535 - PICTURE).astype(">u2").tobytes()),
])  # fmt: skip
def test_a_page_of_a_stack(bits: int, raw: bytes, tmp_path: Path) -> None:
    tags = {258: bits, 262: 0}
    alone = image_in_memory(tiff(raw, PICTURE.shape, SWAPPED, tags))
    data = tiff(raw, PICTURE.shape, SWAPPED, tags, pages=3)
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 2), alone)
    np.testing.assert_array_equal(image_in_memory(data, 3), alone)


def test_a_deflated_page_of_12_bits_that_is_damaged_is_refused() -> None:
    data = tiff(packed(PICTURE >> 4, 12), PICTURE.shape, NATIVE, {258: 12, 259: 8})
    with pytest.raises(ImageError, match="is damaged"):
        image_in_memory(data[:40] + b"\xff" * 20 + data[60:])


def test_pillows_own_big_endian_file(tmp_path: Path) -> None:
    image = Image.fromarray(PICTURE.astype(">u2"))
    assert image.mode == "I;16B"
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), PICTURE)
