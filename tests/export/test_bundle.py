"""Exported bundles: what is in them, parity as recorded, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.export.parity import measure
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.json_files import canonical_sha256
from foveate.train.data.dataset import Case
from foveate.train.fitting import steps
from foveate.train.runs.run import load_run
from tests.conftest import run, train


def test_a_bundle_holds_what_its_manifest_says(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.precisions == ("fp32", "fp16")
    names = {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert names == set(opened.manifest["files"])
    assert names == {
        "cascade.fp32.onnx", "cascade.fp16.onnx", "parity.json", "preview.png",
        *(f"stage{n}.{precision}.onnx" for n in (1, 2) for precision in ("fp32", "fp16")),
    }  # fmt: skip
    for name in names:
        opened.read(name)
    assert opened.spec.classes == ("background", "lesion")
    content = {k: v for k, v in opened.manifest.items() if k != "manifest_sha256"}
    assert canonical_sha256(content) == opened.manifest["manifest_sha256"]


def test_the_masks_are_the_trained_cascades(bundle: Path, trained: Path, data: Path) -> None:
    reference, _ = load_run(trained)
    with Cascade.load(bundle) as cascade:
        for path in image_paths(data / "images"):
            image = read_image(path)
            mask, boxes = reference.segment(image)
            result = cascade(image)
            union = max(1, np.count_nonzero((mask > 0) | (result.mask > 0)))
            assert np.count_nonzero(mask != result.mask) / union <= 0.001
            np.testing.assert_array_equal(result.box_xyxy, boxes)


def test_parity_says_how_it_was_measured(bundle: Path) -> None:
    record = json.loads((bundle / "parity.json").read_text())
    assert "validation images" in record["measured_on"]
    fp32, fp16 = record["precisions"]["fp32"], record["precisions"]["fp16"]
    assert fp32["held"] and fp32["disagreement"] <= 0.001 and not fp32["weights_rounded"]
    assert fp16["weights_rounded"] and "float32 arithmetic" in fp16["how"]


def test_parity_finds_another_network(bundle: Path, trained: Path, data: Path) -> None:
    """With one stage-2 weight changed, the graph no longer gives PyTorch's masks."""
    reference, _ = load_run(trained)
    graph = open_bundle(bundle).graph("fp32")
    with torch.no_grad():
        assert reference.stage2 is not None
        reference.stage2.head.bias += 1.5  # type: ignore[operator,union-attr]
    cases = [Case(path.stem, read_image(path), None) for path in image_paths(data / "images")[:4]]
    row = measure(reference, {"fp32": graph}, cases, lambda *step: None)["fp32"]
    assert not row["held"] and row["disagreement"] > 0.001 and row["worst_image"]


def test_a_single_run_exports_with_the_same_signature(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "EPOCH_BATCHES", 1)
    single = tmp_path / "single"
    assert train(data, single, "--stages", "single", "--set", "num_epochs=1").exception is None
    result = run("export", single, "--out", tmp_path / "b")
    assert result.exception is None, result.exception
    with Cascade.load(tmp_path / "b") as cascade:
        found = cascade(np.zeros((90, 50), np.uint8), probabilities=True)
    assert found.box_xyxy.tolist() == [[0, 0, 50, 90]]
    np.testing.assert_array_equal(found.coarse, found.refined)
