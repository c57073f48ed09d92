"""Masks decided at run time: by hand on small arrays, and through a cascade in every mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.benchmarks.evaluation.views import views
from foveate.export.folding import folded
from foveate.runtime import Cascade, Decision
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.decide import decide
from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.result import Mask, Result
from foveate.runtime.spec import CascadeSpec
from tests.drawing import random_network, small_spec, tiled
from tests.soak.folders import spot
from tests.threshold_bundle import write_bundle

UNSET = {
    "threshold": None, "smooth": None, "fill_holes": None, "largest_only": None, "min_area": None,
}  # fmt: skip


def drawn(*rows: str) -> Mask:
    """Return class indices drawn as digits; a point is background."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.uint8)


def cleaned(mask: Mask, decision: Decision, size: PixelSize | None = None) -> Mask:
    box = np.array([[0, 0, mask.shape[1], mask.shape[0]]], np.float32)
    before = mask.copy()
    result = decide(Result(mask, box, 0.75), small_spec(classes=2), decision, size)
    np.testing.assert_array_equal(mask, before)
    assert result.score == 0.75
    return result.mask


@pytest.mark.parametrize(("given", "expected"), [
    (Decision(), {}),
    (Decision(threshold="0.30"), {"threshold": "0.3"}),
    (Decision(threshold=0.3), {"threshold": "0.3"}),
    (Decision(threshold=" a=0.3, b = 5e-1"), {"threshold": "a=0.3,b=0.5"}),
    (Decision(smooth=2, fill_holes=True), {"smooth": "2px", "fill_holes": True}),
    (Decision(smooth="1.5 um", largest_only=True), {"smooth": "1.5um", "largest_only": True}),
    (Decision(min_area="30"), {"min_area": "30px"}),
    (Decision(min_area="12um\u00b2"), {"min_area": "12um2"}),
    (Decision(smooth="0px", min_area="0mm2"), {}),
])  # fmt: skip
def test_equal_decisions_are_written_alike(given: Decision, expected: dict[str, object]) -> None:
    assert given.as_dict() == UNSET | expected and given.given == expected


@pytest.mark.parametrize("text", ["", "0", "1", "1.5", "nan", "x", "a=", "0.3,0.4", "a=0.3,0.4"])
def test_what_is_not_a_threshold(text: str) -> None:
    with pytest.raises(SettingsError, match="expected a number between 0 and 1, or one for each"):
        Decision(threshold=text)


@pytest.mark.parametrize("text", ["", "px", "-1", "2um2", "2in", "nan", "1.2.3", "2px2", "1e99"])
def test_what_is_not_a_length(text: str) -> None:
    with pytest.raises(SettingsError, match=r"smooth is .*; expected a length such as 2px"):
        Decision(smooth=text)


@pytest.mark.parametrize("text", ["12um", "1in2", "-3px", "2m3"])
def test_what_is_not_an_area(text: str) -> None:
    with pytest.raises(SettingsError, match=r"min-area is .*; expected an area such as 30px"):
        Decision(min_area=text)


def test_of_several_classes_the_most_probable_that_counts_wins() -> None:
    spec = small_spec(classes=2, single=True)
    columns = [
        (0.5, 0.3, 0.2),
        (0.2, 0.35, 0.45),
        (0.7, 0.3, 0.0),
        (0.1, 0.1, 0.8),
        (0.3, 0.4, 0.3),
    ]
    refined = np.array(columns, np.float32).T[:, None]
    graph = refined.argmax(axis=0).astype(np.uint8)
    result = Result(graph, np.array([[0, 0, 5, 1]], np.float32), 0.5, refined, refined)

    def labels(threshold: float | str) -> list[int]:
        return decide(result, spec, Decision(threshold=threshold)).mask[0].tolist()

    assert graph[0].tolist() == [0, 2, 0, 2, 1]
    assert labels(0.25) == [1, 2, 1, 2, 1]
    assert labels(0.42) == [0, 2, 0, 2, 0]
    assert labels(0.9) == [0, 0, 0, 0, 0]
    assert labels("class 1=0.25") == [1, 2, 1, 2, 1]
    assert labels("class 2=0.15") == [2, 2, 0, 2, 1]
    assert labels("class 1=0.25,class 2=0.5") == [1, 1, 1, 2, 1]
    with pytest.raises(SettingsError, match='the class "nerve"; the bundle has class 1, class 2'):
        Decision(threshold="nerve=0.3").check(spec)


def test_holes_are_background_that_a_class_encloses() -> None:
    mask = drawn(".1111.22", ".1..1.2.", ".12.1.22", ".1111...", "11......", "1.1.....", "111.2222")
    filled = drawn(
        ".1111.22", ".1111.2.", ".1211.22", ".1111...", "11......", "111.....", "111.2222"
    )
    np.testing.assert_array_equal(cleaned(mask, Decision(fill_holes=True)), filled)


def test_pieces_are_counted_for_each_class_with_their_corners() -> None:
    mask = drawn("11..2.22", "11..2..2", "..1....2", "......1.", "22......")
    largest = drawn("11....22", "11.....2", "..1....2", "........", "........")
    np.testing.assert_array_equal(cleaned(mask, Decision(largest_only=True)), largest)
    small = drawn("11..2.22", "11..2..2", "..1....2", "........", "22......")
    np.testing.assert_array_equal(cleaned(mask, Decision(min_area=2)), small)
    np.testing.assert_array_equal(cleaned(mask, Decision(min_area=5)), largest * (largest == 1))
    both = cleaned(mask, Decision(largest_only=True, min_area="6px"))
    assert not both.any() and not cleaned(both, Decision(largest_only=True)).any()


@pytest.mark.parametrize("radius", [1, 4, 40])
def test_smoothing_is_the_median_of_each_class(radius: int) -> None:
    rng = np.random.default_rng(radius)
    mask = cv2.resize(rng.integers(0, 3, (9, 12)).astype(np.uint8), (60, 47), interpolation=0)
    mask[rng.random(mask.shape) < 0.1] = 0
    smooth = cleaned(mask, Decision(smooth=radius))
    for label in (1, 2):
        expected = cv2.medianBlur((mask == label).astype(np.uint8), 2 * radius + 1)
        np.testing.assert_array_equal(smooth == label, expected > 0)


def test_the_steps_follow_each_other() -> None:
    """Smoothing opens the ring, so nothing is filled; what is left is too small."""
    ring = np.pad(drawn("111111", "1....1", "1....1", "111111"), 3)
    assert cleaned(ring, Decision(fill_holes=True, min_area=24)).sum() == 24
    assert not cleaned(ring, Decision(smooth=1, fill_holes=True, min_area=24)).any()


def test_lengths_and_areas_by_the_size_of_a_pixel() -> None:
    size = PixelSize(0.002, 0.001)  # of 2 um2
    mask = drawn("111.1111", "........")
    kept = drawn("....1111", "........")
    for area in ("8um2", "7e-6mm2"):
        np.testing.assert_array_equal(cleaned(mask, Decision(min_area=area), size), kept)
    column = np.zeros((9, 9), np.uint8)
    column[:, 4] = 1
    smooth = cleaned(column, Decision(smooth="1um"), size)  # half a pixel across, one down
    np.testing.assert_array_equal(smooth, column)
    assert not cleaned(column, Decision(smooth="2um"), size).any()
    with pytest.raises(
        ImageError, match="states no pixel size, and min-area is 8um2; give --pixel"
    ):
        cleaned(mask, Decision(min_area="8um2"))


def modes() -> dict[str, CascadeSpec]:
    own = replace(small_spec(single=True), pad_multiple=4)
    return {
        "box": small_spec(), "classes": small_spec(classes=2), "whole": small_spec(single=True),
        "own size": own, "tiles": tiled(small_spec(), 3, 0.25),
        "tiles of classes": tiled(small_spec(classes=2), 0, 0.5), "rgb": small_spec(channels="rgb"),
    }  # fmt: skip


@pytest.mark.parametrize("mode", modes())
def test_a_threshold_decides_as_the_graph_does(mode: str, tmp_path: Path) -> None:
    """Its own threshold gives its mask; so does a class without one, where it is most probable."""
    spec = modes()[mode]
    count = spec.input_channels
    inputs = (count, count + 1)
    stages = [folded(random_network(n, spec.output_channels, n)) for n in inputs]
    second = stages[1] if spec.stage2 else None
    write_bundle(tmp_path, spec, {"name": "unet", "width": 4, "depth": 2}, stages[0], second)
    image = np.random.default_rng(0).integers(0, 256, (150, 131)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    image = np.dstack([image] * count) if count > 1 else image
    with Cascade.load(tmp_path, "onnxruntime", threads=1) as cascade:
        result = cascade(image, probabilities=True)
    assert 0 < np.count_nonzero(result.mask) < result.mask.size
    if spec.binary:
        own = decide(result, spec, Decision(threshold=spec.mask_threshold)).mask
        expected = result.mask
        found = list(views(result, spec).values())[-1]
        threshold = float(np.median(found.foreground[found.inside]))
        other = decide(result, spec, Decision(threshold=threshold)).mask
        near = np.abs(found.foreground - threshold) < 1e-5
        np.testing.assert_array_equal(other[~near], found.foreground[~near] > threshold)
    else:
        own = decide(result, spec, Decision(threshold="class 1=0.9999")).mask
        expected = result.mask * (result.mask == 2)
    assert np.any(expected) and np.count_nonzero(own != expected) <= 1e-4 * own.size


DECISION = Decision(threshold=0.05, smooth=1, min_area=20)


def test_every_call_of_a_cascade_decides(bundle: Path) -> None:
    rng = np.random.default_rng(2)
    images: Sequence[Pixels] = [spot(side, rng) for side in (90, 90, 71)]
    with Cascade.load(bundle, "onnxruntime", threads=1) as plain:
        found = [plain(image, probabilities=True) for image in images]
        masks = [decide(result, plain.spec, DECISION).mask for result in found]
        assert any(np.any(a.mask != b) for a, b in zip(found, masks, strict=True))
    with Cascade.load(bundle, "onnxruntime", threads=1, decide=DECISION) as cascade:
        submitted = [cascade.submit(image) for image in images]
        for results in (
            [cascade(image) for image in images],
            [future.result() for future in submitted],
            cascade.batch(images),
            list(cascade.stream(images)),
        ):
            for result, mask in zip(results, masks, strict=True):
                assert np.count_nonzero(result.mask != mask) <= 2
                assert result.coarse is None and result.refined is None
        out = np.full(images[0].shape, 9, np.uint8)
        assert cascade(images[0], out=out).mask is out
        np.testing.assert_array_equal(out, masks[0])
        assert cascade(images[0], probabilities=True).refined is not None


def test_probabilities_are_fetched_for_a_threshold_only(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    for decision in (Decision(), Decision(fill_holes=True), Decision(threshold=0.3)):
        with Cascade.load(bundle, "onnxruntime", threads=1, decide=decision) as cascade:
            run = cascade.engine.run

            def spy(feeds, names, run=run):  # type: ignore[no-untyped-def]
                fetched.append(tuple(names))
                return run(feeds, names)

            monkeypatch.setattr(cascade.engine, "run", spy)
            cascade(np.zeros((30, 40), np.uint8))
    three = ("mask", "box", "score")
    assert fetched == [three, three, (*three, "refined")]


def test_what_a_cascade_cannot_decide_is_told(bundle: Path) -> None:
    with pytest.raises(SettingsError, match='the class "nerve"; the bundle has lesion'):
        Cascade.load(bundle, decide=Decision(threshold="nerve=0.3"))
    with pytest.raises(SettingsError, match="smooth is 2um, and arrays have no pixel size"):
        Cascade.load(bundle, decide=Decision(smooth="2um"))
