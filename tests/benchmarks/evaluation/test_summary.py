"""Evaluation: figures of drawn masks known by hand, and what a model's views are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from foveate.benchmarks.evaluation.calibration import Reliability
from foveate.benchmarks.evaluation.evaluate import Evaluation, add_image
from foveate.benchmarks.evaluation.summary import MEAN, coarse_miss, summarise
from foveate.benchmarks.evaluation.views import View, views
from foveate.benchmarks.report.tables.evaluation import evaluation_text
from foveate.runtime.agreement import IGNORED
from foveate.runtime.result import Result
from tests.drawing import small_spec

Mask = npt.NDArray[np.uint8]


def rows(*filled: slice, label: int = 1) -> Mask:
    mask = np.zeros((10, 10), np.uint8)
    for part in filled:
        mask[part] = label
    return mask


def view(mask: Mask, inside: npt.NDArray[np.bool_] | None = None) -> View:
    everywhere = np.ones(mask.shape, bool)
    return View(mask, (mask > 0).astype(np.float32), everywhere if inside is None else inside)


def evaluation(classes: int = 1, **groups: str) -> Evaluation:
    names = tuple(f"class {label}" for label in range(1, classes + 1))
    found = Evaluation(names, ("stage 1", "cascade"), groups)
    found.reliability = {method: Reliability() for method in found.methods}
    return found


def test_means_leave_out_what_says_nothing() -> None:
    found = evaluation(2, a="a", b="b")
    empty, first, second = rows(), rows(np.s_[:2]), rows(np.s_[:4], label=2)
    wide = rows(np.s_[:3])
    add_image(found, "a", {"stage 1": view(wide), "cascade": view(first)}, first, 2.0)
    add_image(found, "b", {"stage 1": view(empty), "cascade": view(second)}, second, 2.0)
    lines = {(line.method, line.name): line for line in summarise(found).lines}
    one = lines["stage 1", "class 1"]
    assert one.figures["dice"].value == pytest.approx(2 * 20 / 50)
    assert (one.images, one.both_empty) == (1, 1)
    assert lines["stage 1", "class 2"].figures["dice"].value == 0.0
    assert lines["stage 1", MEAN].figures["dice"].value == pytest.approx(0.4)
    assert lines["cascade", MEAN].figures["dice"].value == 1.0
    assert lines["cascade", MEAN].images == 2


def test_what_is_not_labelled_counts_in_no_figure() -> None:
    truth, mask = rows(np.s_[:4]), rows(np.s_[:5], np.s_[8:])
    truth[0], truth[8:] = IGNORED, IGNORED
    found = evaluation(1, a="a")
    add_image(found, "a", {"stage 1": view(mask), "cascade": view(mask, mask > 0)}, truth, 2.0)
    for row in found.rows:
        assert row.metrics.dice == pytest.approx(2 * 30 / (40 + 30))
        assert (row.truth_pixels, row.predicted_pixels, row.false_objects) == (30, 40, 0)
        assert row.metrics.hd95 == 1 and row.missed == 0
    pixels = [found.reliability[method].pixels.sum() for method in found.methods]
    assert pixels == [70, 40] and found.reliability["cascade"].ece == pytest.approx(10 / 40)


def test_the_paired_difference_is_that_of_the_table() -> None:
    found = evaluation(1, a="a", b="b", c="c")
    for stem, height in (("a", 2), ("b", 3), ("c", 5)):
        truth = rows(np.s_[:height])
        seen = {"stage 1": view(rows(np.s_[: height - 1])), "cascade": view(truth)}
        add_image(found, stem, seen, truth, 2.0)
    summary = summarise(found)
    dice = {(line.method, line.name): line.figures["dice"] for line in summary.lines}
    (line,) = [line for line in summary.differences if line.name == "class 1"]
    gain = line.figures["dice"]
    assert (line.method, line.against) == ("cascade", "stage 1")
    assert gain.value == pytest.approx(
        dice["cascade", "class 1"].value - dice["stage 1", "class 1"].value
    )
    losses = [1 - 2 * (h - 1) / (2 * h - 1) for h in (2, 3, 5)]
    assert (gain.low, gain.high) == pytest.approx((min(losses), max(losses)))


def test_the_text_shows_the_mean_of_classes_and_a_dash_for_one_that_is_nowhere() -> None:
    found = evaluation(3, a="a", b="b")
    for stem, height in (("a", 2), ("b", 4)):
        truth = rows(np.s_[:height]) + rows(np.s_[6:9], label=2)
        seen = {"stage 1": view(rows(np.s_[: height - 1])), "cascade": view(truth)}
        add_image(found, stem, seen, truth, 2.0)
    text = evaluation_text(summarise(found), 2.0)
    assert max(len(line) for line in text.splitlines()) <= 110 and "nan" not in text
    lines = [line.split() for line in text.splitlines() if line.startswith("cascade  ")]
    assert [line[:4] for line in lines[:2]] == [["cascade", "class", n, "1.000"] for n in "12"]
    assert lines[2] == ["cascade", "class", "3", *["-"] * 7, "0", "2"]
    assert lines[3][:5] == ["cascade", "mean", "1.000", "[1.000,", "1.000]"]


def test_truth_outside_the_box_is_counted_in_pixels_of_all_images() -> None:
    found = evaluation(2, a="a", b="b", c="c")
    left = np.zeros((10, 10), bool)
    left[:, :5] = True
    for stem, truth in (("a", rows(np.s_[:8])), ("b", rows()), ("c", rows(np.s_[:2, :5]))):
        add_image(found, stem, {"stage 1": view(truth), "cascade": view(truth, left)}, truth, 2.0)
    miss = coarse_miss(found.rows, "cascade")
    assert miss.pooled == pytest.approx(40 / 90)
    assert (miss.losing, miss.images) == (1, 2)
    assert coarse_miss(found.rows, "stage 1").pooled == 0.0


def test_calibration_looks_inside_the_box_only() -> None:
    found = evaluation(1, a="a")
    left = np.zeros((10, 10), bool)
    left[:, :5] = True
    truth = rows(np.s_[:, 5:])  # all of it outside the box, where nothing is predicted
    add_image(found, "a", {"stage 1": view(rows()), "cascade": view(rows(), left)}, truth, 2.0)
    assert found.reliability["cascade"].ece == 0.0
    assert found.reliability["stage 1"].ece == pytest.approx(0.5)


def test_objects_and_false_objects_are_counted_per_method() -> None:
    found = evaluation(1, a="a", b="b")
    truth = rows(np.s_[:2], np.s_[6:8])
    seen = {"stage 1": view(rows(np.s_[:2], np.s_[4])), "cascade": view(truth)}
    add_image(found, "a", seen, truth, 2.0)
    add_image(found, "b", {"stage 1": view(rows()), "cascade": view(rows())}, rows(), 2.0)
    by_method = {item.method: item for item in summarise(found).objects}
    assert (by_method["stage 1"].found, by_method["stage 1"].objects) == (1, 2)
    assert by_method["stage 1"].false_per_image == 0.5
    assert (by_method["cascade"].found, by_method["cascade"].false_per_image) == (2, 0.0)


def test_stage_1_is_enlarged_to_the_image_and_stage_2_pasted_on_its_box() -> None:
    coarse = np.zeros((1, 48, 64), np.float32)
    coarse[0, :24] = 0.9
    refined = np.full((1, 64, 32), 0.7, np.float32)
    mask = np.zeros((96, 128), np.uint8)
    result = Result(mask, np.array([[32, 16, 64, 80]], np.float32), 0.7, coarse, refined)
    seen = views(result, small_spec())
    one, both = seen["stage 1"], seen["cascade"]
    assert one.mask.shape == (96, 128) and one.mask[:47].all() and not one.mask[49:].any()
    assert one.inside.all() and one.foreground[:46] == pytest.approx(0.9)
    assert both.inside.sum() == 64 * 32 and both.inside[16:80, 32:64].all()
    assert both.foreground[both.inside] == pytest.approx(0.7)
    assert not both.foreground[~both.inside].any() and both.mask is mask


def test_the_foreground_of_classes_is_all_but_the_background() -> None:
    coarse = np.zeros((3, 48, 64), np.float32)
    coarse[:] = np.array([0.2, 0.3, 0.5])[:, None, None]
    mask = np.zeros((48, 64), np.uint8)
    box = np.array([[0, 0, 64, 48]], np.float32)
    result = Result(mask, box, 0.5, coarse, coarse)
    seen = views(result, small_spec(classes=2, single=True))
    assert list(seen) == ["single"]
    assert seen["single"].foreground == pytest.approx(0.8)
    left = np.array([[0, 0, 32, 48]], np.float32)
    both = views(Result(mask, left, 0.5, coarse, coarse), small_spec(classes=2))["cascade"]
    assert both.foreground[:, :32] == pytest.approx(0.8) and not both.foreground[:, 32:].any()


def test_a_single_at_the_images_own_size_is_taken_as_it_is() -> None:
    coarse = np.random.default_rng(0).random((1, 33, 47)).astype(np.float32)
    mask = (coarse[0] > 0.5).astype(np.uint8)
    box = np.array([[0, 0, 47, 33]], np.float32)
    seen = views(Result(mask, box, 0.5, coarse, coarse), small_spec(single=True))["single"]
    assert seen.foreground == pytest.approx(coarse[0], abs=1e-6)
    assert np.array_equal(seen.mask, seen.foreground > 0.5)
