"""Training views are what the exported graph will see; sampling and jitter keep their promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.runtime.arrays import as_input_type, feed
from foveate.runtime.spec import CascadeSpec, Normalisation, Region, Size
from foveate.train.data.augment import augmentation
from foveate.train.data.dataset import load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.data.views import (
    RegionCrops,
    Regions,
    ViewSource,
    WholeImages,
    jitter_box,
    whole_views,
)
from foveate.train.settings.settings import Settings
from tests.drawing import random_network

SPEC = CascadeSpec(
    "uint16",
    Size(48, 64),
    Size(64, 32),
    ("background", "lesion"),
    Normalisation("constants", 0.0, 1.0),
    Region("box", 0.5, 0.15, 32, 32),
)


def test_training_views_are_within_one_255th_of_the_graphs(data: Path) -> None:
    dataset = load_dataset(data)
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, SPEC.stage1, lambda done, total: None)
    networks = random_network(1, 1, 0), random_network(2, 1, 1)
    model = cascade_model(SPEC, folded(networks[0]), folded(networks[1]), "fp32")
    for name in ("stage1_input", "stage2_input"):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    same = lambda image, layers, seed: (image, layers)  # noqa: E731
    for stem in dataset.stems[:6]:
        pixels = as_input_type(dataset.image(stem), "uint16")[None]
        names = ["stage1_input", "stage2_input", "box", "coarse"]
        found = dict(zip(names, session.run(names, {"image": feed(pixels)}), strict=True))
        source = ViewSource(full, views, [stem], SPEC, same, 0)
        stage1 = WholeImages(source)[0][0].numpy()
        assert np.abs(stage1 - found["stage1_input"][0]).max() <= 1 / 255
        box = tuple(float(value) for value in found["box"][0, 0])
        regions = Regions({stem: [found["coarse"][0, 0]]}, {}, {})
        crops = RegionCrops(source, regions)
        image, hint, target = crops.region(stem, (box[0], box[1], box[2], box[3]))
        stage2 = crops.tensors(stem, image, hint, target)[0].numpy()
        assert np.abs(stage2 - found["stage2_input"][0]).max() <= 1 / 255


def test_targets_are_area_shares(data: Path) -> None:
    dataset = load_dataset(data)
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, Size(80, 80), lambda done, total: None)
    for stem in dataset.stems:
        mask = dataset.mask(stem)
        assert views[stem].target().mean() == pytest.approx(float((mask > 0).mean()), abs=2e-3)


def test_two_views_in_three_and_more_hold_a_foreground_class(tmp_path: Path) -> None:
    list(write_phantoms(tmp_path, PhantomSettings(20, 128, seed=8, empty_fraction=0.8)))
    dataset = load_dataset(tmp_path)
    holders = {stem for stem in dataset.stems if 1 in dataset.contents[stem].areas}
    assert 0 < len(holders) < 12
    source = ViewSource(FullImages(dataset), {}, dataset.stems, SPEC, augmentation(Settings()), 0)
    rng = np.random.default_rng(0)
    drawn = [source.draw(rng) for _ in range(2000)]
    share = sum(stem in holders for stem in drawn) / len(drawn)
    assert share == pytest.approx(2 / 3 + len(holders) / 20 / 3, abs=0.04)


def test_jittered_boxes_are_whole_pixels_inside_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = int(rng.integers(1, 300)), int(rng.integers(1, 300))
        x0, y0 = int(rng.integers(0, width)), int(rng.integers(0, height))
        whole = (float(x0), float(y0), float(width), float(height))
        left, top, right, bottom = jitter_box(rng, whole, height, width)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert left == int(left) and bottom == int(bottom)


def test_a_view_depends_on_seed_and_index_alone(data: Path) -> None:
    dataset = load_dataset(data)
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, Size(32, 32), lambda done, total: None)
    spec = CascadeSpec("uint8", Size(32, 32), Size(32, 32), ("background", "lesion"))
    source = ViewSource(full, views, dataset.stems, spec, augmentation(Settings()), 1)
    one, same = WholeImages(source), WholeImages(source)
    other = WholeImages(replace(source, seed=2))
    one[3]
    torch.testing.assert_close(one[7], same[7], atol=0, rtol=0)
    assert not torch.equal(one[7][0], other[7][0])


def test_sixteen_bits_keep_a_contrast_of_a_few_counts(tmp_path: Path) -> None:
    """A pattern of 10 counts on 40,000: float16 knows 32 counts apart there."""
    list(write_phantoms(tmp_path, PhantomSettings(2, 128, bits=16, empty_fraction=0)))
    pattern = (np.indices((128, 128)).sum(axis=0) // 16 % 2 * 10).astype(np.uint16)
    for path in (tmp_path / "images").iterdir():
        cv2.imwrite(str(path), pattern + np.uint16(40_000))
    dataset = load_dataset(tmp_path)
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, Size(128, 128), lambda *_: None)
    same = lambda image, layers, seed: (image, layers)  # noqa: E731
    spec = CascadeSpec("uint16", Size(128, 128), None, ("background", "lesion"))
    source = ViewSource(full, views, dataset.stems, spec, same, 0)
    view = WholeImages(source)[0][0].numpy()[0]
    assert np.corrcoef(view.ravel(), pattern.ravel())[0, 1] > 0.99
