"""Evaluation: figures known by hand, and a run and its bundle that say the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.evaluate import Row, _rows, coarse_miss, summarise
from foveate.benchmarks.models import Segmented, coarse_mask
from foveate.runtime.errors import BundleError, DataError
from tests.conftest import run
from tests.drawing import small_spec
from tests.train.test_dataset import make


def test_means_leave_out_what_says_nothing() -> None:
    nan = float("nan")
    values = [("a", 1, 0.8), ("b", 1, nan), ("a", 2, 0.2), ("b", 2, 0.4)]
    rows = [Row(s, label, "cascade", value, 0.1, 0.0) for s, label, value in values]
    found = {(item.method, item.label): item for item in summarise(rows, 3)}
    assert found["cascade", 1].dice == pytest.approx(0.8)
    assert (found["cascade", 1].images, found["cascade", 1].both_empty) == (1, 1)
    assert found["cascade", 2].dice == pytest.approx(0.3)
    assert found["cascade", 0].dice == pytest.approx(0.55)


def test_truth_outside_the_box_is_counted() -> None:
    truth = np.zeros((10, 10), np.uint8)
    truth[:2] = 1
    box = np.array([[0, 0, 5, 10]], np.float32)
    rows = list(_rows("a", Segmented(truth, truth, box), truth, 2))
    assert {row.method: row.dice for row in rows} == {"stage 1": 1.0, "cascade": 1.0}
    assert coarse_miss(rows) == pytest.approx(0.5)


def test_stage_1_is_enlarged_to_the_image() -> None:
    coarse = np.zeros((1, 48, 64), np.float32)
    coarse[0, :24] = 1
    mask = coarse_mask(coarse, 96, 128, small_spec())
    assert mask.shape == (96, 128) and mask[:47].all() and not mask[49:].any()


def test_a_run_and_its_bundle_say_the_same(
    trained: Path, bundle: Path, data: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join((data / "test.txt").read_text().split()))
    found = []
    for model in (trained, bundle):
        path = tmp_path / "dice.csv"
        result = run("evaluate", model, data, "--list", listed, "--csv", path, "--json")
        assert result.exception is None, result.exception
        found.append(json.loads(result.output))
        with path.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 2 * 2
    for one, other in zip(found[0]["dice"], found[1]["dice"], strict=True):
        assert one["method"] == other["method"] and one["dice"] == pytest.approx(
            other["dice"], abs=5e-4
        )


def test_a_run_is_evaluated_on_its_validation_images(trained: Path, data: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    result = run("evaluate", trained, data)
    assert f"{len(record['data']['validation'])} images of" in result.output
    assert "stage 1" in result.output and "cascade" in result.output


def test_what_cannot_be_evaluated_is_named(bundle: Path, tmp_path: Path) -> None:
    three = make(tmp_path / "d", (0, 1, 2, 3))
    result = run("evaluate", bundle, three)
    assert isinstance(result.exception, DataError) and "masks of 3 classes" in str(result.exception)
    result = run("evaluate", tmp_path, three)
    assert isinstance(result.exception, BundleError) and "neither a bundle" in str(result.exception)
