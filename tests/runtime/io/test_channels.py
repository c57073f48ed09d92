"""The channels of files become those of a bundle: by number, repeated, made grey, or refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.formats.exif import upright
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import image_in_memory, read_image, read_image_and_header
from foveate.runtime.io.inputs import find_items
from foveate.runtime.io.window import Window
from tests.bad.images import encoded
from tests.runtime.io.tiffs import Tags, sampled_tiff, tiff_file

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (45, 70, 5)).astype(np.uint8)
COLOURS = np.ascontiguousarray(NOISE[:, :, :3])
EIGHT, SIXTEEN = np.uint8(1), np.uint16(257)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def files(deep: bool) -> dict[str, bytes]:
    """Return COLOURS in every lossless container, with and without transparency, turned by 6."""
    if deep:
        bgr = COLOURS[:, :, ::-1] * SIXTEEN
        return {kind: cv2.imencode(kind, bgr)[1].tobytes() for kind in (".png", ".tif")} | {
            "planes": sampled_tiff(COLOURS * SIXTEEN, ">", planes=2, more={262: 2}),
        }
    clear = Image.fromarray(np.dstack([COLOURS, NOISE[:, :, 4]]))
    found = {}
    for kind in ("PNG", "TIFF", "BMP", "WEBP"):
        found[kind] = encoded(kind, Image.fromarray(COLOURS), lossless=True)
        found[f"{kind}, transparent"] = encoded(kind, clear, lossless=True, exact=True)
    return found


@pytest.mark.parametrize("deep", [False, True])
def test_colours_are_read_as_they_were_stored(deep: bool) -> None:
    expected = COLOURS * SIXTEEN if deep else COLOURS
    for kind, data in files(deep).items():
        found = image_in_memory(data, channels="rgb")
        assert found.dtype == expected.dtype and found.flags.c_contiguous, kind
        np.testing.assert_array_equal(found, expected, kind)
        grey = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(image_in_memory(data), grey, kind)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_in_colour(orientation: int) -> None:
    picture, tag = Image.fromarray(COLOURS), exif(orientation)
    for kind in ("PNG", "TIFF", "WEBP"):
        found = image_in_memory(encoded(kind, picture, exif=tag, lossless=True), channels="rgb")
        np.testing.assert_array_equal(found, upright(COLOURS, orientation))
    jpeg = encoded("JPEG", picture, exif=tag, quality=95)
    with Image.open(io.BytesIO(jpeg)) as image:
        expected = upright(np.asarray(image), orientation)
    np.testing.assert_array_equal(image_in_memory(jpeg, channels="rgb"), expected)
    for count, bits, planes in ((5, EIGHT, 1), (5, SIXTEEN, 2), (3, SIXTEEN, 2)):
        stored = NOISE[:, :, :count] * bits
        data = sampled_tiff(stored, planes=planes, more={274: orientation})
        found = image_in_memory(data, channels=str(count))
        np.testing.assert_array_equal(found, upright(stored, orientation))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_and_palettes_become_rgb_as_pillow_does(kind: str) -> None:
    data = encoded(kind, Image.fromarray(COLOURS).convert("CMYK"))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(image_in_memory(data, channels="rgb"), expected)
    few = Image.fromarray(COLOURS).quantize(16)
    for container in ("PNG", "BMP", "TIFF"):
        found = image_in_memory(encoded(container, few), channels="rgb")
        np.testing.assert_array_equal(found, np.asarray(few.convert("RGB")))


def test_grey_is_repeated_at_every_depth() -> None:
    grey = NOISE[:, :, 0]
    white = tiff_file([(65535 - grey * SIXTEEN, {262: 0})], ">")
    stored = [(encoded("PNG", Image.fromarray(grey)), grey), (white, grey * SIXTEEN)]
    for data, expected in stored:
        found = image_in_memory(data, channels="rgb")
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, np.dstack([expected] * 3))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("tile", [0, 32])
def test_samples_of_a_tiff(order: str, planes: int, predictor: int, tile: int) -> None:
    for count in (2, 4, 5, 32):
        stored = RNG.integers(0, 65536, (45, 70, count)).astype(np.uint16)
        for pixels in (stored, (stored >> 8).astype(np.uint8)):
            data = sampled_tiff(pixels, order, planes, predictor, tile)
            found = image_in_memory(data, channels=str(count))
            assert found.dtype == pixels.dtype
            np.testing.assert_array_equal(found, pixels)


def test_samples_without_strips_and_too_many_of_them_are_refused() -> None:
    large = {256: 30_000, 257: 4_000, 278: 4_000}
    for more, said in (
        ({273: []}, "is damaged"),
        ({339: [1, 1, 3, 1, 1]}, "has channels of several types; expected one"),
        (large, "is 30000x4000 pixels; the limits are 32768 a side and 107374182"),
    ):
        with pytest.raises(ImageError, match=said):
            image_in_memory(sampled_tiff(NOISE[:20], planes=2, more=more), channels="5")


@pytest.mark.parametrize("channels", ["grey", "rgb", "3"])
def test_a_file_that_ends_within_the_depths_of_its_samples_is_refused(channels: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(COLOURS).save(whole, "TIFF", compression="tiff_adobe_deflate")
    assert image_in_memory(whole.getvalue(), channels=channels).shape[:2] == COLOURS.shape[:2]
    with pytest.raises(ImageError, match="is damaged"):
        image_in_memory(whole.getvalue()[:-3], channels=channels)


def stack(order: str, channels: int, slices: int) -> bytes:
    """Return the description of an OME-TIFF."""
    return (
        f'<OME><Image><Pixels DimensionOrder="{order}" SizeC="{channels}" SizeT="1" '
        f'SizeZ="{slices}" PhysicalSizeX="2" PhysicalSizeY="2"/></Image></OME>\0'
    ).encode()


@pytest.mark.parametrize(("description", "step"), [
    (stack("XYCZT", 4, 3), 1), (stack("XYZCT", 4, 3), 3),
    (b"ImageJ=1.54f\nimages=12\nchannels=4\nslices=3\n\0", 1),
])  # fmt: skip
def test_a_page_for_each_channel(tmp_path: Path, description: bytes, step: int) -> None:
    pages = RNG.integers(0, 65536, (12, 20, 30)).astype(np.uint16)
    tags: list[Tags] = [{270: description}] + [{}] * 11
    path = tmp_path / "s.tif"
    path.write_bytes(tiff_file(list(zip(pages, tags, strict=True))))
    items = find_items([str(path)], tmp_path / "out", channels="4")
    assert [item.name for item in items] == ["s.p1", "s.p2", "s.p3"]
    for z, item in enumerate(items):
        first = 4 * z if step == 1 else z
        expected = np.dstack([pages[first + step * c] for c in range(4)])
        found, header = read_image_and_header(item.path, item.page, None, "4")
        np.testing.assert_array_equal(found, expected)
        for known in (header, read_header(item.path, item.page, "4")):
            assert (known.channels, known.height, known.width) == (4, 20, 30)
            assert bool(known.pixel_size) == (b"OME" in description)
        in_memory = image_in_memory(path.read_bytes(), item.page, channels="4")
        np.testing.assert_array_equal(in_memory, expected)
    assert len(find_items([str(path)], tmp_path / "out")) == 12
    with pytest.raises(ImageError, match="page 2 has 1 channel; expected 3"):
        read_image(path, 2, channels="3")


@pytest.mark.parametrize(("stored", "channels"), [
    (NOISE, "5"), (np.asfortranarray(NOISE), "5"), (NOISE[:, :, 0], "grey"),
    (NOISE[:, :, :1], "grey"), ((COLOURS * SIXTEEN).astype(">u2"), "rgb"), (COLOURS, "3"),
])  # fmt: skip
def test_an_array(tmp_path: Path, stored: npt.NDArray[Any], channels: str) -> None:
    np.save(tmp_path / "a.npy", stored)
    found = read_image(tmp_path / "a.npy", channels=channels)
    assert found.dtype.itemsize == stored.itemsize and found.flags.c_contiguous
    np.testing.assert_array_equal(found, stored[:, :, 0] if stored.shape[2:] == (1,) else stored)


def test_an_array_of_float_by_a_window(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", NOISE.astype(np.float32) / 255)
    found = read_image(tmp_path / "a.npy", window=Window(0, 1), channels="5")
    np.testing.assert_array_equal(found, NOISE * SIXTEEN)
    with pytest.raises(ImageError, match="has float32 values from 0 to 1; .* --window 0,1"):
        read_image(tmp_path / "a.npy", channels="5")


@pytest.mark.parametrize("stored", [
    np.array([{}]), np.zeros((2, 2, 2, 2)), np.zeros((0, 4)), np.zeros((3, 3), complex),
])  # fmt: skip
def test_other_arrays_are_refused(tmp_path: Path, stored: npt.NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", stored, allow_pickle=True)
    with pytest.raises(ImageError, match=r"is an array of \(.*; expected \(H, W\)"):
        read_image(tmp_path / "a.npy")


def test_an_array_that_is_cut_or_has_a_broken_header_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", NOISE)
    data = (tmp_path / "a.npy").read_bytes()
    for harmed, said in ((data[:-1], "cut short"), (data[:20] + b"(" + data[21:], "header")):
        with pytest.raises(ImageError, match=said):
            image_in_memory(harmed, channels="5")


@pytest.mark.parametrize(("data", "channels", "said"), [
    (sampled_tiff(NOISE), "grey", "has 5 channels; expected grey or RGB. .* channels=5"),
    (sampled_tiff(NOISE), "rgb", "has 5 channels; expected grey or RGB. .* channels=5"),
    (sampled_tiff(NOISE), "4", "has 5 channels; expected 4. .* channels=5"),
    (encoded("PNG", Image.fromarray(COLOURS)), "4", "has 3 channels; expected 4. .* channels=rgb"),
    (encoded("PNG", Image.fromarray(NOISE[:, :, 0])), "2", "has 1 channel; .* channels=grey"),
])  # fmt: skip
def test_other_channels_are_refused_by_name(data: bytes, channels: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        image_in_memory(data, channels=channels)


def test_one_grey_value_is_luma_of_colours_and_the_mean_of_others() -> None:
    image = np.array([[[200, 100, 50], [1, 2, 2]]], np.uint8)
    assert grey_of(image, "rgb").tolist() == [[124, 2]]
    assert grey_of(image, "3").tolist() == [[117, 2]]
    assert grey_of(image * SIXTEEN, "3").tolist() == [[round(350 / 3 * 257), round(5 / 3 * 257)]]
