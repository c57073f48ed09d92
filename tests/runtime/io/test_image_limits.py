"""What the check before the decoder lets through, and what it finds; tests/bad has its words."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.images import image_in_memory
from tests.bad.images import encoded, png_of

NOISE = np.random.default_rng(0).integers(0, 255, (67, 85)).astype(np.uint8)
FLAT = np.zeros_like(NOISE)


@pytest.mark.parametrize("pixels", [NOISE, FLAT, FLAT[:1, :1], np.dstack([NOISE, FLAT, NOISE])])
@pytest.mark.parametrize("options", [
    {}, {"quality": 1}, {"quality": 100, "subsampling": 0}, {"optimize": True, "quality": 1},
    {"progressive": True}, {"progressive": True, "quality": 1}, {"restart_marker_blocks": 1},
])  # fmt: skip
def test_sound_jpegs_are_read_as_pillow_reads_them(
    pixels: np.ndarray, options: dict[str, object]
) -> None:
    """A flat one has two bits a block, as few as there can be."""
    data = encoded("JPEG", Image.fromarray(pixels), **options)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        np.testing.assert_array_equal(image_in_memory(data + bytes(700)), np.asarray(image))


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9, 0.98])
def test_a_jpeg_whose_scan_ends_too_early_is_refused(share: float) -> None:
    """libjpeg fills it up with grey where an end mark follows."""
    data = encoded("JPEG", Image.fromarray(NOISE))
    cut = data[: int(len(data) * share)] + b"\xff\xd9"
    half = cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert half.shape == NOISE.shape  # OpenCV says nothing
    with pytest.raises(ImageError, match="is damaged|is cut short"):
        image_in_memory(cut)


def test_a_jpeg_of_333_bytes_that_promises_half_a_gigapixel_is_refused() -> None:
    data = bytearray(encoded("JPEG", Image.fromarray(FLAT[:8, :8])))
    struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, 32768, 16384)
    with pytest.raises(ImageError, match="is cut short"):
        image_in_memory(bytes(data))


def test_the_grey_of_colours_does_not_depend_on_gamma() -> None:
    """OpenCV applies the gamma of a PNG to colours, not to grey."""
    colours = np.dstack([NOISE, NOISE[::-1], FLAT])
    data = cv2.imencode(".png", colours)[1].tobytes()
    content = b"gAMA" + struct.pack(">I", 45455)
    gamma = struct.pack(">I", 4) + content + struct.pack(">I", zlib.crc32(content))
    with_gamma = image_in_memory(data[:33] + gamma + data[33:])
    np.testing.assert_array_equal(with_gamma, image_in_memory(data))
    luma = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)
    assert np.abs(with_gamma.astype(int) - luma).max() <= 1


def test_text_behind_the_pixels_is_not_inflated() -> None:
    """A decoder would inflate each of these to eight megabytes."""
    text = b"x\0\0" + zlib.compress(bytes(8 << 20), 9)
    data = png_of((8, 8), zlib.compress(bytes(72)), [(b"zTXt", text)] * 200)
    assert (image_in_memory(data) == 0).all()
