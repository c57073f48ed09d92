"""``benchmark compare``: every peer on the same images, its Dice beside its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveate.benchmarks.compare.comparison import Comparison, Method, Part, run_comparison
from foveate.benchmarks.measure.parity import Reference
from foveate.benchmarks.schema.consistency import find_issues
from foveate.benchmarks.schema.result_files import read_result
from foveate.runtime.arrays import Pixels
from foveate.train.data.dataset import Case
from tests.conftest import run, train
from tests.export.importing.networks import export_onnx, network


@pytest.fixture(scope="module")
def single(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one network at the image's own size."""
    folder = tmp_path_factory.mktemp("single")
    more = ("--set", "num_epochs=1", "--set", "class_names=lesion", "--stages", "single")
    result = train(data, folder / "run", *more, "--set", "single_input=full")
    assert result.exception is None, result.output
    result = run("export", folder / "run", "--out", folder / "one.bundle")
    assert result.exception is None, result.output
    return folder / "one.bundle"


@pytest.fixture(scope="module")
def found(
    bundle: Path, single: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("compared") / "compare.json"
    with torch.compiler.set_stance("force_eager"):  # compiling takes a minute: test_peers, slow
        result = run(
            "benchmark", "compare", bundle, data, "--single", single, "--rounds", 12,
            "--threads", 1, "--out", out,
        )  # fmt: skip
    assert result.exception is None, result.exception
    assert "Against foveate: ratio of the times in the same round" in result.output
    return read_result(out)


def test_every_peer_is_there_or_says_why(found: dict[str, Any]) -> None:
    methods = {item["key"]: item for item in found["results"]["methods"]}
    assert set(methods) >= {"foveate", "a", "b-fp32", "b-bf16", "c", "d-fp32", "d-bf16", "e", "f"}
    for item in methods.values():
        assert item["here"] or item["reason"]
    for key in ("foveate", "a", "c", "e", "f"):
        assert methods[key]["here"], methods[key]
        assert methods[key]["ms"]["n"] == 12
    assert methods["foveate"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}


def test_the_dice_is_that_of_the_masks_timed(found: dict[str, Any]) -> None:
    methods = {item["key"]: item for item in found["results"]["methods"] if item["here"]}
    ours = methods["foveate"]
    assert ours["disagreement"] <= 0.001 and ours["dice"] == pytest.approx(ours["dice_reference"])
    assert found["parity"]["onnxruntime fp32"]["images"] == 12
    assert methods["a"]["disagreement"] == pytest.approx(methods["c"]["disagreement"], abs=1e-3)
    assert methods["c"]["disagreement"] < 0.1
    assert methods["f"]["disagreement"] > methods["c"]["disagreement"]


def test_what_the_time_is_made_of(found: dict[str, Any]) -> None:
    names = [part["name"] for part in found["results"]["parts"]]
    assert names == [
        "geometry inside the graph, alone",
        "geometry by numpy + OpenCV, alone",
        "the networks, alone",
        "the network of one.bundle at full size, alone",
    ]
    counts = found["results"]["multiply_adds"]
    cascade = counts["tiny.bundle, stage 1 network"] + counts["tiny.bundle, stage 2 network"]
    full = counts["one.bundle, stage 1 network"]
    assert full / cascade == pytest.approx(160**2 / (2 * 64**2), rel=0.02)
    assert find_issues(found) == []


def test_batches_are_judged_image_by_image_and_have_no_parts(bundle: Path, tmp_path: Path) -> None:
    with torch.compiler.set_stance("force_eager"):
        result = run(
            "benchmark", "compare", bundle, "--size", 192, "--count", 3, "--rounds", 2,
            "--batch", 2, "--threads", 1, "--out", tmp_path / "batch.json",
        )  # fmt: skip
    assert result.exception is None, result.exception
    assert "2 images a call" in result.output
    found = read_result(tmp_path / "batch.json")
    assert found["settings"]["batch"] == found["results"]["batch"] == 2
    assert found["results"]["parts"] == []
    assert found["parity"]["onnxruntime fp32"]["images"] == 3
    assert find_issues(found) == []


def test_one_imported_network_is_compared_with_its_network_by_hand(
    data: Path, tmp_path: Path
) -> None:
    path = export_onnx(network("plain"), tmp_path / "net.onnx", 1)
    imported, out = tmp_path / "net.bundle", tmp_path / "compare.json"
    for command in (
        ("import", path, "--normalise", "zscore", "--precision", "fp32", "--out", imported),
        ("benchmark", "compare", imported, data, "--rounds", 2, "--threads", 1, "--out", out),
    ):
        result = run(*command)
        assert result.exception is None, result.exception
    methods = {item["key"]: item for item in read_result(out)["results"]["methods"]}
    assert methods["c"]["name"] == "one ONNX Runtime session"
    assert methods["foveate"]["disagreement"] <= 0.001 < methods["c"]["disagreement"] < 0.3
    assert not {"e", "f"} & set(methods)


@pytest.mark.parametrize(
    ("which", "said"),
    [("cascade", "is a cascade; expected"), ("one", "sees whole images; compare")],
)
def test_models_of_the_wrong_kind_are_refused(
    bundle: Path, single: Path, which: str, said: str
) -> None:
    subject, other = (bundle, bundle) if which == "cascade" else (single, single)
    result = run("benchmark", "compare", subject, "--single", other, "--size", 192, "--count", 1)
    assert said in str(result.exception)


def test_a_method_with_other_masks_and_one_that_is_not_here() -> None:
    """Two ways that differ in half of the foreground; one twice as slow as the other, by design."""
    image = np.zeros((8, 8), np.uint8)
    truth = np.zeros((8, 8), np.uint8)
    truth[:4] = 1
    box = np.array([0, 0, 8, 8], np.float32)

    def right(pixels: Pixels) -> Any:
        return truth, box

    def half(pixels: Pixels) -> Any:
        mask = truth.copy()
        mask[:2] = 0
        return mask, box + np.float32(1)

    methods = [
        Method("foveate", "ours", "", lambda images: [right(image) for image in images]),
        Method("x", "half", "", lambda images: [half(image) for image in images]),
        Method("y", "none", "", None, "not installed"),
    ]
    part = Part("nothing", lambda index: None)
    comparison = Comparison(
        methods, [part], Reference("truth", right), [Case("a", image, truth)], 5
    )
    found = run_comparison(comparison, lambda label, done, total: None)
    ours, other, missing = found["methods"]
    assert (ours["dice"], ours["disagreement"]) == (1, 0)
    assert (other["dice"], other["disagreement"]) == (pytest.approx(2 / 3), 0.5)
    assert other["moved_boxes"] == 1
    assert missing == {"key": "y", "name": "none", "here": False, "reason": "not installed"}
    assert found["parts"][0]["ms"]["n"] == 5
    json.dumps(found)
