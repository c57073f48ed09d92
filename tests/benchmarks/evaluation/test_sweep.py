"""``foveate evaluate`` of decided masks, and the sweep over thresholds that goes with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from foveate.benchmarks.evaluation.sweep import STEPS, Sweep
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import SettingsError
from foveate.runtime.result import Result
from tests.conftest import run
from tests.drawing import small_spec
from tests.threshold_bundle import write_threshold_bundle

NAMES = ("dice", "iou", "precision", "recall")
CLEANED = ("--min-area", "12", "--smooth", "1")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of two classes, and its data: grey discs on noise, one image without a truth."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(5)
    for name in ("images", "masks"):
        (folder / "data" / name).mkdir(parents=True)
    for number in range(5):
        image = rng.normal(100, 25, (70, 90))
        mask = np.zeros((70, 90), np.uint8)
        for label in (1, 2) if number < 4 else ():
            disc = np.zeros((70, 90), np.uint8)
            cv2.circle(disc, (25 * label + 8, 20 + 8 * number), 13 - number, 1, -1)
            mask[disc > 0] = label
            image[disc > 0] = 110 + 20 * label
        picture = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (0, 0), 1)
        cv2.imwrite(str(folder / "data" / "images" / f"{number}.png"), picture)
        cv2.imwrite(str(folder / "data" / "masks" / f"{number}.png"), mask)
    return write_threshold_bundle(folder / "two.bundle", channels=3), folder / "data"


def evaluated(*arguments: object) -> dict[str, Any]:
    result = run("evaluate", *arguments, "--json")
    assert result.exception is None, result.exception
    values = json.loads(result.output)
    assert isinstance(values, dict)
    return values


def check(sweep: list[dict[str, Any]], found: dict[str, Any], threshold: float | None) -> None:
    """Assert that the lines of a threshold are, to the last bit, those of an evaluation by it."""
    lines = {line["name"]: line for line in sweep if line["threshold"] == threshold}
    figures = {item["class"]: item for item in found["figures"] if item["method"] == "cascade"}
    assert lines.keys() == figures.keys()
    for name, line in lines.items():
        assert {n: line[n] for n in NAMES} == {n: figures[name][n]["value"] for n in NAMES}
    (objects,) = (item for item in found["objects"] if item["method"] == "cascade")
    assert lines["mean"]["false_per_image"] == objects["false_per_image"]


@pytest.mark.parametrize("cleaned", [(), CLEANED])
def test_the_sweep_is_what_evaluate_says_at_each_threshold(
    bundle: Path, data: Path, cleaned: tuple[str, ...]
) -> None:
    whole = evaluated(bundle, data, *cleaned, "--sweep")
    sweep = whole["sweep"]
    (own,) = (line["threshold"] for line in sweep if line["own"] and line["name"] == "mean")
    assert {line["threshold"] for line in sweep} == {*STEPS, own}
    check(sweep, whole, own)
    for threshold in (0.05, 0.3, 0.6, 0.95):
        found = evaluated(bundle, data, *cleaned, "--threshold", threshold)
        assert found["settings"]["decision"]["threshold"] == f"{threshold:g}"
        assert found["sweep"] == []
        check(sweep, found, threshold)
    dices = {line["dice"] for line in sweep}
    assert len(dices) > 5  # thresholds do matter here


def test_the_sweep_of_several_classes_has_their_own_rule_too(several: tuple[Path, Path]) -> None:
    whole = evaluated(*several, "--sweep")
    check(whole["sweep"], whole, None)
    assert all(line["own"] == (line["threshold"] is None) for line in whole["sweep"])
    for threshold in (0.3, 0.4):
        check(whole["sweep"], evaluated(*several, "--threshold", threshold), threshold)


def test_the_figures_of_a_sweep_by_hand() -> None:
    """Four pixels of probability 0.1, 0.3, 0.6 and 0.9; the first and last are in the truth."""
    spec = small_spec(single=True)
    refined = np.array([[[0.1, 0.3, 0.6, 0.9]]], np.float32)
    mask: npt.NDArray[np.uint8] = (refined[0] > 0.5).astype(np.uint8)
    result = Result(mask, np.array([[0, 0, 4, 1]], np.float32), 0.5, refined, refined)
    sweep = Sweep(spec, Decision())
    sweep.add(result, np.array([[1, 0, 0, 1]], np.uint8), None)
    sweep.add(result, np.zeros((1, 4), np.uint8), None)
    lines = {line.threshold: line for line in sweep.lines("mean") if line.name == "mean"}
    expected = {0.05: (4, 2), 0.15: (3, 1), 0.35: (2, 1), 0.65: (1, 1)}
    for threshold, (pixels, both) in expected.items():
        line = lines[threshold]
        assert line.dice == pytest.approx((2 * both / (pixels + 2)) / 2)  # the other image has 0
        assert line.iou == pytest.approx((both / (pixels + 2 - both)) / 2)
        assert (line.precision, line.recall) == pytest.approx((both / pixels / 2, both / 4))
        assert line.false_per_image == 0.5
    assert (lines[0.95].dice, lines[0.95].false_per_image) == (0, 0)
    assert [value for value, line in lines.items() if line.own] == [0.5]


def test_table_csv_page(bundle: Path, data: Path, tmp_path: Path) -> None:
    done = run("evaluate", bundle, data, "--sweep", "--out", tmp_path)
    assert done.exception is None
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sweep = json.loads((tmp_path / "summary.json").read_text())["sweep"]
    assert len(rows) == len(sweep) == 2 * len({line["threshold"] for line in sweep})
    for row, line in zip(rows, sweep, strict=True):
        assert (row["class"], row["own"]) == (line["name"], str(int(line["own"])))
        assert [float(row[name]) for name in NAMES] == pytest.approx(
            [line[name] for name in NAMES], abs=1e-6
        )
    text = done.output.split("\nThresholds\n")[1].splitlines()
    means = [line for line in sweep if line["name"] == "mean"]
    for shown, line in zip(text[1:], means, strict=False):
        assert shown.startswith(f"{line['threshold']:g} ") and f" {line['dice']:.3f} " in shown
        assert ("(the model's)" in shown) == line["own"]
    best = max(means, key=lambda line: line["dice"])
    assert f"Highest Dice of lesion: {best['dice']:.3f} at {best['threshold']:g}" in done.output
    page = (tmp_path / "index.html").read_text()
    assert page.count("<polyline") == 2 + len(NAMES)
    run("evaluate", bundle, data, "--out", tmp_path / "plain")
    assert "threshold" not in (tmp_path / "plain" / "index.html").read_text().lower()
    assert not (tmp_path / "plain" / "sweep.csv").exists()


def test_pieces_are_removed_before_they_are_measured(bundle: Path, data: Path) -> None:
    """With pixels of 10 um an image has 2.56 mm2, so no piece is left; stage 1 stays as it is."""
    options = ("--threshold", 0.05, "--pixel-size", "10um")
    plain, none = (evaluated(bundle, data, *options, *o) for o in ((), ("--min-area", "2.6mm2")))
    assert plain["figures"][0]["method"] == "stage 1"
    assert none["figures"][0] == plain["figures"][0]
    before, after = (found["objects"][1] for found in (plain, none))
    assert before["found"] > 0 and before["false_per_image"] > 0
    assert (after["found"], after["false_per_image"]) == (0, 0)


def test_what_cannot_be_decided_is_told_beforehand(bundle: Path, data: Path) -> None:
    for options, said in (
        (("--min-area", "3um2"), "min-area is 3um2, and 12 images state no pixel size, the first"),
        (("--threshold", "nerve=0.3"), 'threshold names the class "nerve"; the bundle has lesion'),
    ):
        with pytest.raises(SettingsError, match=said):
            raise run("evaluate", bundle, data, *options).exception or AssertionError
