"""``benchmark pareto``: the front, the Dice of ``foveate evaluate``, and models that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.benchmarks.evaluation.pareto import dominated_by
from foveate.benchmarks.schema.consistency import find_issues
from foveate.benchmarks.schema.result_files import read_result
from foveate.runtime.agreement import BOUNDS
from tests.conftest import run

CPU = ("--engines", "onnxruntime", "--precision", "fp32", "--threads", 1)


def test_the_front_is_what_nothing_faster_equals() -> None:
    points = {
        "slow and best": (0.80, 90.0),
        "fast": (0.70, 10.0),
        "better": (0.75, 30.0),
        "slow and worse": (0.72, 40.0),
        "as good, to 0.001": (0.7509, 50.0),
        "as fast, worse": (0.60, 10.0),
    }
    assert dominated_by(points) == {
        "fast": None,
        "as fast, worse": "fast",
        "better": None,
        "slow and worse": "better",
        "as good, to 0.001": "better",
        "slow and best": None,
    }


def test_small_gains_add_up_to_a_place_on_the_front() -> None:
    points = {"a": (0.7, 1.0), "b": (0.7008, 2.0), "c": (0.7016, 3.0)}
    assert dominated_by(points) == {"a": None, "b": "a", "c": None}


def test_a_bundle_and_a_run_have_the_dice_of_evaluate(
    bundle: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    listed, out = tmp_path / "val.txt", tmp_path / "pareto.json"
    stems = sorted(path.stem for path in (data / "images").iterdir())[:7]
    listed.write_text("\n".join(stems))
    given = ("--data", data, "--list", listed)
    done = run("benchmark", "pareto", bundle, trained, *given, *CPU, "--out", out)
    assert done.exception is None and done.return_value == 0, done.output
    judged = json.loads(run("evaluate", bundle, data, "--list", listed, "--json").stdout)
    expected = next(
        line["dice"]
        for line in judged["figures"]
        if (line["method"], line["class"]) == ("cascade", "mean")
    )
    found = read_result(out)
    results = found["results"]
    assert find_issues(found) == []
    assert found["command"].startswith("foveate benchmark pareto tiny.bundle run --data ")
    names = [f"{name}, onnxruntime fp32" for name in ("tiny.bundle", "run")]
    assert [row["variant"] for row in results["rows"]] == list(found["parity"]) == names
    for row in results["rows"]:
        assert row["dice"] == pytest.approx(expected, abs=1e-6)
        assert row["ms"]["n"] == 42  # each of the 7 images as often, 40 rounds at least
        assert found["parity"][row["variant"]]["images"] == 7
    beaten = [row["dominated_by"] for row in results["rows"]]
    assert sorted(beaten, key=str) in ([None, names[0]], [None, names[1]])
    first, second = results["models"]
    assert (first["name"], second["name"]) == ("tiny.bundle", "run")
    assert first["multiply_adds"] == second["multiply_adds"] > 1e6
    assert found["model"]["name"] == "tiny.bundle and 1 more"
    known = json.loads((trained / "run.json").read_text())["data"]["training"]
    assert (
        f"{len(set(stems) & set(known))} of the 7 images are training images of run: its Dice is "
        "too high"
    ) in found["warnings"]


def test_other_masks_are_never_on_the_front(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BOUNDS, "fp32", (-1.0, 0.0))  # a bound that nothing keeps
    out = tmp_path / "pareto.json"
    done = run("benchmark", "pareto", bundle, "--data", data, *CPU, "--out", out)
    assert done.return_value == 1 and "MASKS DIFFER" in done.stderr
    (row,) = read_result(out)["results"]["rows"]
    assert (row["front"], row["dominated_by"]) == (False, None)
    assert run("benchmark", "report", out, "--out", tmp_path / "page").return_value == 1


def test_models_and_data_that_do_not_go_together(
    bundle: Path, thresholds: Path, data: Path, tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        done = run("benchmark", "pareto", *arguments, *CPU)
        assert done.exception is not None
        return str(done.exception)

    assert "two models are called tiny.bundle" in refused(bundle, bundle, "--data", data)
    words = refused(bundle, thresholds, "--data", data)
    assert "other classes bright (expected lesion)" in words
    assert "run.json" in refused(bundle, tmp_path, "--data", data)

    shutil.copytree(data / "images", tmp_path / "images")
    (tmp_path / "masks").mkdir()
    shutil.copy(next((data / "masks").iterdir()), tmp_path / "masks")
    assert "11 of 12 stems have no mask" in refused(bundle, "--data", tmp_path)
    for path in (data / "masks").iterdir():
        cv2.imwrite(str(tmp_path / "masks" / path.name), np.zeros((160, 160), np.uint8))
    assert "every mask is empty" in refused(bundle, "--data", tmp_path)
