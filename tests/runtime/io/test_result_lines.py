"""The line of an image in results.jsonl: its numbers, and when it carries which flag."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from foveate.runtime.arrays import Pixels
from foveate.runtime.io.result_line import low_range, low_score, result_line
from foveate.runtime.result import Result, Timings
from foveate.runtime.spec import CascadeSpec
from tests.drawing import small_spec

SHAPE = (60, 80)
RAMP = np.arange(60 * 80).reshape(SHAPE).astype(np.uint8)


def result(mask_rows: slice, box: tuple[float, ...], score: float = 0.9) -> Result:
    mask = np.zeros(SHAPE, np.uint8)
    mask[mask_rows, 20:30] = 1
    timings = Timings(0.12345, 12.0, 1.0)
    return Result(mask, np.array([box], np.float32), score, timings=timings, engine="onnxruntime")


def flags(found: Result, spec: CascadeSpec) -> list[str]:
    return list(result_line("a.png", 0, {"a.png": "0"}, RAMP, found, spec)["flags"])


def test_a_line_is_json_with_every_field() -> None:
    found = result(slice(5, 15), (10, 0, 50, 40.5), 0.912345678)
    written = {"sub/a.png": "abc", "overlays/sub/a.jpg": "def"}
    line = result_line("in/a\n.tif", 3, written, RAMP, found, small_spec())
    assert json.loads(json.dumps(line)) == {
        "input": "in/a\n.tif",
        "page": 3,
        "mask": "sub/a.png",
        "mask_sha256": "abc",
        "height": 60,
        "width": 80,
        "image_type": "uint8",
        "box_xyxy": [[10, 0, 50, 40.5]],
        "score": 0.912346,
        "area": {"class 1": 100},
        "ms": {"h2d": 0.123, "execute": 12.0, "d2h": 1.0},
        "engine": "onnxruntime",
        "flags": ["touches_border"],
    }


def test_areas_of_a_mask_of_several_bands() -> None:
    mask = np.random.default_rng(0).integers(0, 4, (1300, 1701)).astype(np.uint8)
    found = Result(mask, np.array([[0, 0, 1701, 1300]], np.float32), 0.9)
    line = result_line("a", 0, {"a.png": "0"}, mask, found, small_spec(classes=3))
    assert list(line["area"].values()) == np.bincount(mask.ravel())[1:].tolist()


WHOLE = (0, 0, 80, 60)


@pytest.mark.parametrize(
    ("rows", "box", "expected"),
    [
        (slice(5, 15), (1, 1, 79, 59), []),
        (slice(5, 15), (0, 1, 79, 59), ["touches_border"]),
        (slice(5, 15), (1, 0, 79, 59), ["touches_border"]),
        (slice(5, 15), (1, 1, 80, 59), ["touches_border"]),
        (slice(5, 15), (1, 1, 79, 60), ["touches_border"]),
        (slice(5, 15), WHOLE, []),
        (slice(0, 15), WHOLE, ["touches_border"]),
        (slice(50, 60), WHOLE, ["touches_border"]),
    ],
)
def test_a_box_at_the_border_is_flagged_but_not_for_being_the_whole_image(
    rows: slice, box: tuple[float, ...], expected: list[str]
) -> None:
    assert flags(result(rows, box), small_spec()) == expected


def test_empty_is_the_only_flag_of_an_empty_mask() -> None:
    for box in (WHOLE, (0, 0, 40, 40)):
        assert flags(result(slice(0, 0), box, 0.0), small_spec()) == ["empty"]


def test_a_score_is_low_in_the_lower_half_of_what_it_can_be() -> None:
    inside = (1, 1, 79, 59)
    for spec, low in (
        (small_spec(), 0.75),
        (replace(small_spec(), mask_threshold=0.9), 0.95),
        (small_spec(classes=3), 0.625),
    ):
        assert low_score(spec) == pytest.approx(low)
        assert flags(result(slice(5, 15), inside, low - 0.001), spec) == ["low_score"]
        assert flags(result(slice(5, 15), inside, low + 0.001), spec) == []


def levels(count: int, dtype: type, step: int = 1, start: int = 0) -> Pixels:
    """An image of 400 x 300 pixels that uses so many values, each about as often."""
    values = start + step * np.random.default_rng(0).integers(0, count, (400, 300))
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("image", "input_type", "few"),
    [
        (levels(256, np.uint8), "uint8", False),
        (levels(16, np.uint8), "uint8", False),
        (levels(15, np.uint8), "uint8", True),
        (levels(15, np.uint8), "uint16", True),
        (levels(600, np.uint16), "uint8", True),
        (levels(600, np.uint16), "uint16", False),
        (levels(16, np.uint16, 257), "uint8", False),
        (levels(15, np.uint16, 257, 9), "uint8", True),
        (levels(60_000, np.uint16), "uint16", False),
    ],
)
def test_few_grey_levels_are_counted_in_the_type_of_the_bundle(
    image: Pixels, input_type: str, few: bool
) -> None:
    assert low_range(image, input_type) == few
    spec = replace(small_spec(), input_type=input_type)
    found = Result(np.zeros(image.shape, np.uint8), np.array([[0, 0, 300, 400]], np.float32), 0.0)
    line = result_line("a", 0, {"a.png": "0"}, image, found, spec)
    assert line["flags"] == ["empty"] + ["low_range"] * few


def test_hot_pixels_are_not_grey_levels() -> None:
    image = levels(10, np.uint16)
    image.ravel()[::1200] = np.arange(0, 60_000, 600)
    assert low_range(image, "uint16")
    image.ravel()[::400] = np.arange(0, 60_000, 200)
    assert not low_range(image, "uint16")


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (63, 65)])
def test_an_image_of_any_shape_has_levels(shape: tuple[int, int]) -> None:
    assert low_range(np.zeros(shape, np.uint8), "uint8")
