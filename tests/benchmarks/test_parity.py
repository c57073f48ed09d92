"""``benchmark parity``: the same masks pass; other masks, blank masks and moved boxes are found."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from foveate.benchmarks.schema.result_files import read_result
from foveate.runtime.engines.hardware import processor
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.engines.registry import ENGINES
from tests.bad import bundles
from tests.benchmarks import lying_engines
from tests.conftest import run


def offer(monkeypatch: pytest.MonkeyPatch, name: str, kind: type[OnnxRuntimeEngine]) -> None:
    """Add an engine to those of this version, or replace one."""
    module = ModuleType(f"tests.engine_{name}")
    module.engine_from_onnx = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(ENGINES, name, (module.__name__, "cpu"))


def parity(bundle: Path, *more: object) -> tuple[int, dict[str, Any], str]:
    """Return exit code, result and error output of the command."""
    result = run("benchmark", "parity", bundle, *more, "--json")
    assert result.exception is None, result.output
    return result.return_value, json.loads(result.stdout), result.stderr


def test_the_same_masks_pass(bundle: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "parity.json"
    code, found, _ = parity(bundle, data, "--out", out)
    row = found["results"]["variants"]["onnxruntime fp32"]
    assert code == 0 and row["held"] and row["images"] == 12
    assert row["disagreement"] <= 0.001 and row["emptiness_flips"] == []
    assert "PyTorch" in row["reference"]
    dice = [item["dice"] for item in row["each"] if item["dice"] is not None]
    assert len(row["each"]) == 12 and all(0 <= value <= 1 for value in dice)
    assert row["dice"] == pytest.approx(np.mean(dice))
    assert "fp16 arithmetic" in found["results"]["skipped"]["onnxruntime fp16"]
    assert read_result(out)["parity"] == found["parity"]
    assert found["command"] == "foveate benchmark parity tiny.bundle data0 --out parity.json --json"


def shifted(bundle: Path, folder: Path, offset: float) -> Path:
    """Return a copy of a bundle that adds to the last logits, with all hashes right.

    The weights in its graph, and so the reference, are those of before.
    """
    copy = folder / "shifted.bundle"
    shutil.copytree(bundle, copy)

    def edit(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.float32([offset]), "offset"))
        (node,) = (node for node in model.graph.node if node.output[0] == "stage2_logits")
        node.op_type = "Add"
        node.input.append("offset")

    bundles.change_graph(copy, edit)
    return copy


def test_other_logits_are_found_and_pictured(bundle: Path, data: Path, tmp_path: Path) -> None:
    other = shifted(bundle, tmp_path, 0.05)
    code, found, errors = parity(other, data, "--pictures", tmp_path / "worst")
    row = found["parity"]["onnxruntime fp32"]
    assert code == 1 and not row["held"] and row["disagreement"] > 0.001
    assert "gives other masks than PyTorch" in errors
    worst = max(found["results"]["variants"]["onnxruntime fp32"]["each"],
                key=lambda item: item["disagreement"])  # fmt: skip
    assert row["worst_image"] == worst["name"] and worst["differing_pixels"] > 0
    picture = cv2.imread(str(tmp_path / "worst" / "onnxruntime-fp32-worst-1.png"))
    assert picture is not None and picture.shape == (160, 320, 3)
    amber, blue = np.array([60, 190, 245]), np.array([230, 130, 70])
    marked = [(picture[:, 160:] == colour).all(axis=2).sum() for colour in (amber, blue)]
    assert sum(marked) == worst["differing_pixels"]


def test_blank_masks_are_found_though_most_pixels_agree(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    code, found, errors = parity(shifted(bundle, tmp_path, -100), data)
    row = found["parity"]["onnxruntime fp32"]
    assert code == 1 and row["disagreement"] == 1.0
    assert len(row["emptiness_flips"]) >= 10
    assert "masks empty on one side only" in errors


def test_one_lying_engine_among_sound_ones_is_named(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, "blanking", lying_engines.BlankingEngine)
    offer(monkeypatch, "shifted", lying_engines.ShiftedEngine)
    code, found, errors = parity(bundle, data, "--precision", "fp32")
    rows = found["parity"]
    assert code == 1
    assert [name for name, row in rows.items() if not row["held"]] == ["blanking fp32"]
    assert len(rows["shifted fp32"]["moved_boxes"]) == 12
    assert rows["onnxruntime fp32"]["moved_boxes"] == []
    assert "blanking fp32 gives other masks" in errors and "onnxruntime fp32 gives" not in errors


def test_without_data_phantoms_are_compared(bundle: Path) -> None:
    code, found, _ = parity(bundle, "--count", "2", "--size", "192")
    assert code == 0
    assert (found["data"]["name"], found["data"]["images"]) == ("phantoms 192x192", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engines", "onnxruntim"], 'no engine "onnxruntim"'),
        (["--precision", "fp16"], "fp16 arithmetic"),
        (["--precision", "int8"], "has no int8 graph"),
        (["--list", "test.txt"], "give DATA too"),
    ],
)
def test_what_cannot_run_is_said(bundle: Path, arguments: list[str], said: str) -> None:
    result = run("benchmark", "parity", bundle, *arguments)
    assert result.exception is not None and said in str(result.exception)


@pytest.mark.skipif(processor().lacks_bf16, reason="needs bfloat16 arithmetic")
def test_a_precision_of_another_engine_named_is_left_out(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    words = ("benchmark", "parity", bundle, "--size", 192, "--count", 1, "--precision", "fp32,bf16")
    out = tmp_path / "parity.json"
    run(*words, "--engines", "onnxruntime,openvino", "--out", out)
    results = json.loads(out.read_text())["results"]
    assert "onnxruntime bf16" in results["skipped"]
    assert {"onnxruntime fp32", "openvino fp32"} <= set(results["variants"])
    assert "precision of the openvino engine" in str(
        run(*words, "--engines", "onnxruntime").exception
    )
