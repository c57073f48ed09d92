"""A one-stage network at full size: its views are the graph's, and its bundle runs at any size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.runtime import Cascade
from foveate.runtime.arrays import as_input_type, feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.spec import Size
from foveate.train.data.dataset import load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.full_views import FullCrops, WholeAtOwnSize
from foveate.train.data.views import ViewSource
from tests.conftest import run, train
from tests.drawing import random_network, small_spec

FULL = ("--stages", "single", "--set", "single_input=full")
SPEC = replace(small_spec("uint16", single=True), stage1=Size(64, 48), pad_multiple=32)


def test_whole_views_are_within_one_255th_of_the_graphs(data: Path) -> None:
    dataset = load_dataset(data)
    model = cascade_model(SPEC, folded(random_network(1, 1, 0)), None, "fp32")
    model.graph.output.append(onnx.helper.make_tensor_value_info("stage1_input", 1, None))
    items = WholeAtOwnSize(FullImages(dataset), dataset.stems[:6], SPEC)
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        for index, stem in enumerate(items.stems):
            pixels = as_input_type(dataset.image(stem), "uint16")[None]
            found = engine.run({"image": feed(pixels)}, ("stage1_input",))["stage1_input"]
            view = items[index][0].numpy()
            assert view.shape == (1, 160, 160) and np.abs(view - found[0]).max() <= 1 / 255


def test_crops_hold_the_foreground_and_pad_small_images(data: Path) -> None:
    dataset = load_dataset(data)
    holders = [stem for stem in dataset.stems if dataset.mask(stem).any()]
    same = lambda image, layers, seed: (image, layers)  # noqa: E731
    source = ViewSource(FullImages(dataset), {}, holders, SPEC, same, 0)
    crops = FullCrops(source)
    shares = [float(crops[index][1].mean()) for index in range(40)]
    assert np.count_nonzero(shares) > 24  # two in three are drawn around foreground
    large = replace(SPEC, stage1=Size(192, 224))
    view, target = FullCrops(replace(source, spec=large))[0]
    assert view.shape == (1, 192, 224) and target.shape == (1, 192, 224)
    assert not view[:, 160:].any() and not view[:, :, 160:].any() and view[:, :160, :160].std() > 0


def test_trained_exported_and_run_at_any_size(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "run", *FULL, "--set", "num_epochs=2")
    assert result.exception is None, result.exception
    result = run("export", tmp_path / "run", "--out", tmp_path / "b")
    assert result.exception is None, result.exception
    parity = json.loads((tmp_path / "b" / "parity.json").read_text())
    assert parity["precisions"]["fp32"]["held"]
    assert "its own size" in run("info", tmp_path / "b").output
    with Cascade.load(tmp_path / "b") as cascade:
        for height, width in [(1, 1), (31, 33), (160, 160), (5, 700)]:
            result = cascade(np.full((height, width), 90, np.uint8), probabilities=True)
            assert result.mask.shape == (height, width)
            assert result.coarse is not None and result.coarse.shape == (1, height, width)
            assert result.box_xyxy.tolist() == [[0, 0, width, height]]
        with pytest.raises(ImageError, match="limit is"):
            cascade(np.zeros((17_000, 17_000), np.uint8))


def test_a_cascade_has_no_full_size(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "r", "--set", "single_input=full")
    assert isinstance(result.exception, SettingsError) and "--stages single" in str(
        result.exception
    )
