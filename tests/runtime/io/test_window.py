"""Signed, 32-bit and float pixels become grey by a window, and are refused by name without one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import image_in_memory, read_image
from foveate.runtime.io.window import Window
from tests.runtime.io.test_deep_tiff import tiff
from tests.runtime.io.tiffs import tiff_file

SHAPE = (40, 31)
RNG = np.random.default_rng(0)
HALVES = {"i1": "u1", "i2": "u2", "i4": "u4", "i8": "u8", "f2": "u2", "f4": "u4", "f8": "u8"}


def numbers(kind: str) -> np.ndarray:
    """Return values of a type, over its whole range where it is an integer."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return (RNG.normal(size=SHAPE) * 100).astype(dtype)
    return np.frombuffer(RNG.bytes(SHAPE[0] * SHAPE[1] * dtype.itemsize), dtype).reshape(SHAPE)


def steps(values: np.ndarray, order: str) -> bytes:
    """Return the differences that a TIFF of predictor 2 holds."""
    words = values.view(HALVES.get(values.dtype.str[1:], values.dtype.str[1:]))
    found = np.diff(words, axis=1, prepend=words.dtype.type(0))
    return found.astype(found.dtype.newbyteorder(order)).tobytes()


def windowed(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return what the page says a window makes of values."""
    share = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
    return share * 65535


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u4", "u8", "f2", "f4", "f8"])
def test_numbers_of_every_type_and_order(kind: str, order: str) -> None:
    values = numbers(kind)
    low, high = np.quantile(values.astype(np.float64), [0.2, 0.9]).tolist()
    expected = windowed(values, low, high)
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {258: 8 * values.dtype.itemsize, 339: {"u": 1, "i": 2, "f": 3}[values.dtype.kind]}
    files = [
        tiff(raw, SHAPE, order, tags),
        tiff(raw, SHAPE, order, {**tags, 259: 8}),
        tiff(steps(values, order), SHAPE, order, {**tags, 259: 8, 317: 2}),
    ]
    for data in files:
        found = image_in_memory(data, window=Window(low, high))
        assert found.dtype == np.uint16
        assert np.abs(found - expected).max() <= 0.5 + 1e-6
    white_is_zero = image_in_memory(
        tiff(raw, SHAPE, order, {**tags, 262: 0}), window=Window(low, high)
    )
    np.testing.assert_array_equal(white_is_zero, 65535 - found)


def test_values_are_rounded_to_the_nearest_and_clipped() -> None:
    values = np.array([[-2000, -1000, -300, 400, 9000]], np.int16)
    assert Window(-1000, 400).apply(values).tolist() == [[0, 0, 32768, 65535, 65535]]
    assert Window(-1000, 400).apply(values, 255).tolist() == [[0, 0, 128, 255, 255]]
    assert Window(0, 65535).apply(np.array([[0.49, 0.51, 1.5, 2.5]])).tolist() == [[0, 1, 2, 2]]


@pytest.mark.parametrize("values", [
    np.array([[-1024, 3071], [7, 8]], np.int16), np.array([[0.1, 0.7]], np.float32),
    np.full((2, 2), 5, np.int32), np.array([[2**40, 2**62]]), np.array([[-1e30, 1e30]]),
])  # fmt: skip
def test_the_refusal_names_the_range_and_an_option_that_reads_it(values: np.ndarray) -> None:
    data = tiff_file([(values, {})])
    with pytest.raises(ImageError, match="values from .* to ") as refused:
        image_in_memory(data)
    option = re.search(r"--window (\S+) \(in training --set window=(\S+)\)", str(refused.value))
    assert option is not None and option[1] == option[2]
    found = image_in_memory(data, window=Window.parse(option[1]))
    assert found[np.unravel_index(values.argmin(), values.shape)] == 0
    assert values.min() == values.max() or found.max() == 65535


@pytest.mark.parametrize("window", [None, Window(0, 1)])
def test_nan_and_infinities_are_named(window: Window | None) -> None:
    values = np.array([[0.5, np.nan], [np.inf, -np.inf]], np.float32)
    with pytest.raises(ImageError, match="has 1 NaN and 2 infinite pixels"):
        image_in_memory(tiff_file([(values, {})]), window=window)


def test_a_window_leaves_other_pixels_alone() -> None:
    for dtype in (np.uint8, np.uint16):
        values = np.arange(200, dtype=dtype).reshape(10, 20)
        np.testing.assert_array_equal(
            image_in_memory(tiff_file([(values, {})]), window=Window(50, 60)), values
        )


def test_pages_and_orientation(tmp_path: Path) -> None:
    first, second = numbers("i2"), numbers("f4")
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_file([(first, {}), (second, {274: 6})], ">", strips=4))
    window = Window(-100, 100)
    np.testing.assert_array_equal(read_image(path, 1, window=window), window.apply(first))
    expected = np.rot90(window.apply(second), -1)
    np.testing.assert_array_equal(read_image(path, 2, window=window), expected)
    header = read_header(path, 2)
    assert (header.height, header.width) == expected.shape and header.numbers


def test_damage_in_deflated_numbers_is_refused() -> None:
    values = numbers("f4")
    data = tiff(values.tobytes(), SHAPE, "<", {258: 32, 259: 8, 339: 3})
    with pytest.raises(ImageError, match="is damaged"):
        image_in_memory(data[:1000] + b"\xff" * 40 + data[1040:], window=Window(0, 1))


@pytest.mark.parametrize(("tags", "said"), [
    ({258: 24}, "has grey pixels of 24 bits"),
    ({258: 64, 339: 6}, "has complex numbers as pixels"),
    ({258: 12, 339: 2}, "has grey pixels of 12 bits"),
    ({258: 32, 339: 3, 277: 3, 262: 2}, "has 3 samples of 32 bits a pixel"),
])  # fmt: skip
def test_other_kinds_of_numbers_are_refused_by_name(tags: dict[int, int], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        image_in_memory(tiff(bytes(20_000), SHAPE, "<", tags), window=Window(0, 1))
