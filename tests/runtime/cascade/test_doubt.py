"""Doubt of results that were made by hand: its parts are known numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foveate.runtime.cascade.decision import Decision
from foveate.runtime.cascade.doubt import measure_doubt
from foveate.runtime.result import FloatArray, Mask, Result
from foveate.runtime.spec import CascadeSpec, Region, Size

BOX = CascadeSpec("uint8", Size(32, 32), Size(64, 64), ("background", "bright"))
SINGLE = replace(BOX, stage2=None, region=Region("none"))
CLASSES = replace(BOX, classes=("background", "nerve", "vessel"))
LEFT, RIGHT = np.s_[..., :16], np.s_[..., 16:]


def planes(side: int, value: float, where: tuple[object, ...] = (...,)) -> FloatArray:
    found = np.zeros((1, side, side), np.float32)
    found[where] = value
    return found


def result(coarse: FloatArray, refined: FloatArray, mask: Mask | None = None) -> Result:
    """Return a result of 32 x 32 pixels whose box is the whole image."""
    mask = np.zeros((32, 32), np.uint8) if mask is None else mask
    return Result(mask, np.array([[0, 0, 32, 32]], np.float32), 0.0, coarse, refined)


def parts(found: Result, spec: CascadeSpec = BOX, **decision: float) -> tuple[float, ...]:
    """Return all parts but the score's."""
    measured = measure_doubt(found, found, spec, Decision(**decision))  # type: ignore[arg-type]
    values = tuple(measured["doubt_parts"].values())
    assert measured["doubt"] == pytest.approx(np.mean(values), abs=1e-4)
    return values[:-1]


@pytest.mark.parametrize(
    ("coarse", "refined", "expected"),
    [
        (0.0, 0.0, (0.0, 0.0, 0.0)),
        (1.0, 1.0, (0.0, 0.0, 0.0)),
        (0.5, 0.5, (0.0, 1.0, 0.0)),
        (0.4, 0.4, (0.0, 0.96, 0.0)),
        (0.6, 0.6, (0.0, 0.96, 0.0)),
        (0.01, 0.0, (0.01, 0.0, 0.0)),  # haze in an empty image is no doubt
        (0.0, 0.01, (0.01, 0.0396, 0.0)),
        (1.0, 0.0, (1.0, 0.0, 0.0)),
        (0.9, 0.6, (0.06, 0.96, 0.0)),
    ],
)
def test_even_probabilities(coarse: float, refined: float, expected: tuple[float, ...]) -> None:
    found = result(planes(32, coarse), planes(64, refined))
    assert parts(found) == pytest.approx(expected, abs=1e-4)
    assert parts(replace(found, refined=planes(32, refined)), SINGLE) == pytest.approx(expected[1:])


def test_sharp_masks_that_disagree() -> None:
    """Stages on other halves; the mirrored image's mask, mirrored back, on the other half too."""
    mask = np.zeros((32, 32), np.uint8)
    mask[RIGHT] = 1
    found = result(
        planes(32, 1, LEFT), np.repeat(np.repeat(planes(32, 1, RIGHT), 2, 1), 2, 2), mask
    )
    assert parts(found) == pytest.approx((1.0, 0.0, 1.0), abs=0.02)  # pasted edges reach a cell on
    back = replace(found, mask=mask[:, ::-1])
    assert measure_doubt(found, back, BOX, Decision())["doubt_parts"]["flip"] == 0


def test_soft_edges_are_no_doubt_whatever_the_size_of_the_object() -> None:
    for side in (8, 32, 56):
        fine = planes(64, 0.5, np.s_[..., :side, :side])
        fine[..., : side - 2, : side - 2] = 1
        coarse = fine.reshape(1, 32, 2, 32, 2).mean(axis=(2, 4))
        assert parts(result(coarse, fine)) == pytest.approx((0, 0, 0), abs=0.01)


def test_the_threshold_that_decides_is_the_one_that_counts() -> None:
    found = result(planes(32, 0.3), planes(64, 0.3))
    assert parts(found)[1] == pytest.approx(0.84)
    assert parts(found, threshold=0.3)[1] == 1
    assert parts(found, replace(BOX, mask_threshold=0.3))[1] == 1


def test_the_score_counts_and_an_empty_mask_has_none() -> None:
    full, empty = np.ones((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    for mask, missing in ((full, 0.25), (empty, 1)):
        found = replace(result(planes(32, 1), planes(64, 1), mask), score=0.75)
        measured = measure_doubt(found, found, BOX, Decision())
        assert measured["doubt_parts"]["missing_score"] == missing
        assert measured["doubt"] == missing / 4


def test_several_classes() -> None:
    """Two likely classes are a doubt; so is one class by stage 1 and another by stage 2."""
    even = np.empty((3, 64, 64), np.float32)
    even[:] = np.array([0.0, 0.5, 0.5])[:, None, None]
    sure = np.zeros_like(even)
    sure[1] = 1
    coarse = sure[:, ::2, ::2]
    mask = np.ones((32, 32), np.uint8)
    assert parts(result(coarse, even, mask), CLASSES) == (0.25, 1.0, 0.0)
    assert parts(result(coarse, sure, mask), CLASSES) == (0.0, 0.0, 0.0)
    assert parts(result(coarse, sure[[0, 2, 1]], mask), CLASSES) == (1.0, 0.0, 0.0)
    other = result(coarse, sure, 2 * mask)
    first = replace(result(coarse, sure, mask), score=1.0)
    assert measure_doubt(first, other, CLASSES, Decision())["doubt"] == 0.25


def test_tiles_count_only_inside_the_image() -> None:
    spec = replace(BOX, stage2=Size(24, 24), region=Region("tiles", overlap=0.0))
    refined = np.full((4, 24, 24), 0.5, np.float32)
    boxes = [[0, 0, 24, 24], [24, 0, 32, 24], [0, 24, 24, 32], [24, 24, 32, 32]]
    for tile, (x0, y0, x1, y1) in zip(refined, boxes, strict=True):
        tile[: y1 - y0, : x1 - x0] = 1
    found = replace(result(planes(32, 1), refined), box_xyxy=np.array(boxes, np.float32))
    assert parts(found, spec) == pytest.approx((0, 0, 0), abs=1e-4)
