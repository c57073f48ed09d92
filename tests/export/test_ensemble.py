"""Averages of runs and of mirrored images: PyTorch's masks in every engine, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from foveate.benchmarks.measure.roofline import NETWORKS, multiply_adds
from foveate.export.folding import fold_cascade
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.onnx_graph.lint import lint
from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.registry import engine_from_onnx
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.spec import CascadeSpec
from foveate.train.fitting import steps
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.run import load_run, read_run, write_run
from tests.bad.bundles import sign
from tests.conftest import run, train
from tests.drawing import small_spec, tiled
from tests.networks import random_ensemble

KINDS = {
    "box": small_spec(),
    "tiles, two classes of 16 bits": tiled(small_spec("uint16", 2), 3, 0.25),
    "own size": replace(small_spec(single=True), pad_multiple=4),
}


class Mean(nn.Module):
    """The mean logits of networks and, where ``flips``, of their answers to the mirror image."""

    def __init__(self, networks: list[nn.Module], flips: bool) -> None:
        super().__init__()
        self.networks, self.flips = networks, flips

    def forward(self, x: Tensor) -> Tensor:
        answers = [network(x) for network in self.networks]
        if self.flips:
            answers += [network(x.flip(-1)).flip(-1) for network in self.networks]
        return torch.stack(answers).mean(0)


def graph_of(cascade: TorchCascade) -> onnx.ModelProto:
    folded = fold_cascade(cascade)
    return cascade_model(folded.spec, folded.stage1, folded.stage2, "fp32")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_engines_give_pytorchs_average(spec: CascadeSpec, name: str) -> None:
    reference = random_ensemble(spec, 2, True)
    model = graph_of(reference)
    names = [item.name for item in model.graph.initializer]
    assert lint(model) == [] and len(set(names)) == len(names), "every weight is there once"
    high = int(spec.full_scale) + 1
    image = np.random.default_rng(0).integers(0, high, (2, 101, 143)).astype(spec.input_type)
    with engine_from_onnx(name, model.SerializeToString()) as engine:
        found = engine.run({"image": feed(image)}, ("mask", "box", "coarse", "refined"))
    with torch.inference_mode():
        expected = reference(torch.from_numpy(image.astype(np.float32)))
    np.testing.assert_array_equal(found["box"], expected.box.numpy())
    for part in ("coarse", "refined"):
        np.testing.assert_allclose(found[part], getattr(expected, part).numpy(), atol=2e-5)
    assert expected.mask.any() and (found["mask"] == expected.mask.numpy()).mean() >= 0.999


def test_with_flips_the_mirror_image_has_the_mirrored_mask() -> None:
    spec = replace(small_spec(single=True), pad_multiple=4)
    image = np.random.default_rng(0).integers(0, 256, (1, 60, 80), dtype=np.uint8)
    differing = []
    for flips in (False, True):
        graph = graph_of(random_ensemble(spec, 1, flips)).SerializeToString()
        with engine_from_onnx("onnxruntime", graph) as engine:
            coarse, mirrored = (
                engine.run({"image": np.ascontiguousarray(pixels)}, ("coarse",))["coarse"]
                for pixels in (image, image[:, :, ::-1])
            )
        differing.append(np.abs(coarse - mirrored[..., ::-1]).max())
    assert differing[1] <= 1e-5 < 1e-3 < differing[0]


def test_an_average_counts_every_pass() -> None:
    spec = small_spec()
    plain, average = (
        multiply_adds(graph_of(cascade).SerializeToString(), 1, 100, 140)
        for cascade in (random_ensemble(spec, 1, False), random_ensemble(spec, 3, True))
    )
    for part in NETWORKS:
        assert average[part] == 6 * plain[part]


def changed(folder: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a copy of a run whose record was changed."""
    shutil.copytree(folder, copy)
    record = read_run(copy)
    change(record)
    write_run(copy, record)
    return copy


@pytest.fixture(scope="module")
def other(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second run on the images of ``trained``; its values were chosen otherwise."""
    folder = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "EPOCH_BATCHES", 4)
        more = ("num_epochs=1", "class_names=lesion", "learning_rate=0.004")
        settings = [item for value in more for item in ("--set", value)]
        result = train(data, folder / "trained", *settings)
    assert result.exception is None, result.output

    def choose(record: dict[str, Any]) -> None:
        record["spec"]["mask_threshold"] = 0.3
        record["spec"]["region"] |= {"threshold": 0.03, "margin": 0.01, "opening": 9}

    return changed(folder / "trained", folder / "run", choose)


def test_two_runs_in_one_bundle_give_the_mean_of_their_logits(
    trained: Path, other: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b"
    result = run("export", trained, other, "--flips", "--out", out, "--precision", "fp32")
    assert result.exception is None, result.exception
    assert "4 times the multiply-adds" in result.output
    assert "Dice on 2 validation images" in result.output and "without averaging" in result.output

    bundle, runs = open_bundle(out), [load_run(folder)[0] for folder in (trained, other)]
    first, second = (one.spec for one in runs)
    region = replace(
        first.region,
        threshold=0.03,
        margin=max(first.region.margin, 0.01),
        opening=first.region.opening,
        min_height=max(first.region.min_height, second.region.min_height),
        min_width=max(first.region.min_width, second.region.min_width),
    )
    threshold = (first.mask_threshold + 0.3) / 2
    assert bundle.spec == replace(first, region=region, mask_threshold=pytest.approx(threshold))
    stages = [
        Mean([getattr(cascade, name) for cascade in runs], flips=True)
        for name in ("stage1", "stage2")
    ]
    expected = TorchCascade(bundle.spec, *stages).eval()
    differing = union = 0
    with Cascade.load(out) as cascade:
        for path in image_paths(data / "images"):
            mask, boxes = expected.segment(read_image(path))
            found = cascade(read_image(path))
            np.testing.assert_array_equal(found.box_xyxy, boxes)
            differing += np.count_nonzero(found.mask != mask)
            union += np.count_nonzero(found.mask | mask)
    assert union and differing / union <= 0.001
    hashes = [row["run_sha256"] for row in bundle.manifest["training"]]
    assert len(set(hashes)) == 2 and bundle.manifest["network"]["members"] == 2
    assert "averaged over 2 runs and mirrored images: 4 times" in run("bundle", "show", out).output


def test_folds_become_one_bundle_which_can_be_exported_again(data: Path, tmp_path: Path) -> None:
    folds, out, again = (tmp_path / name for name in ("folds", "b", "again"))
    more = ("--folds", "2", "--stages", "single", "--set", "num_epochs=1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "EPOCH_BATCHES", 1)
        assert train(data, folds, *more).exception is None
    result = run("export", folds, "--out", out)
    assert result.exception is None, result.exception
    assert "Dice is not compared: a run was trained on some of the images" in result.output
    assert run("export", out, "--out", again, "--data", data).exception is None
    made, copy = open_bundle(out), open_bundle(again)
    assert made.manifest["network"]["members"] == 2 and "flips" not in made.manifest["network"]
    for key in ("network", "training", "data"):
        assert copy.manifest[key] == made.manifest[key]
    assert copy.graph("fp32") == made.graph("fp32")
    sign(again, lambda manifest: manifest["network"].update(members=10**9))
    with pytest.raises(BundleError, match=r"network.members is 1000000000; expected 1 to 32"):
        open_bundle(again)


def test_what_does_not_go_together_is_refused(trained: Path, bundle: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        result = run("export", *arguments, "--out", tmp_path / "b")
        assert isinstance(result.exception, SettingsError), result.output
        return str(result.exception)

    still = changed(trained, tmp_path / "s", lambda run: run["settings"].update(horizontal_flip=0))
    assert "trained with horizontal_flip=0" in refused(still, "--flips")
    wide = changed(trained, tmp_path / "w", lambda run: run["spec"]["stage1"].update(width=128))
    assert "another stage1 {'height': 64, 'width': 128} (expected" in refused(trained, wide)
    far = changed(trained, tmp_path / "f", lambda run: run["data"].update(fingerprint="0"))
    assert "another data" in refused(trained, far)
    for arguments in ((bundle, "--flips"), (trained, bundle), (bundle, bundle)):
        assert f"{bundle} is a bundle, which is exported alone" in refused(*arguments)
    assert "expected at most 32" in refused(*[trained] * 33)
