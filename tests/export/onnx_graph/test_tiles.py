"""Region mode tiles in ONNX Runtime: PyTorch's outputs, the drawn shape, and no seams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import OUTPUTS, cascade_model
from foveate.export.onnx_graph.lint import lint
from foveate.runtime.agreement import dice
from foveate.runtime.arrays import feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.reference.cascade import TorchCascade
from tests.drawing import (
    ODD_SIZES,
    SEPARATE_SIZES,
    ellipse,
    random_network,
    small_spec,
    threshold_network,
    threshold_spec,
    tiled,
)

GRIDS = [(1, 0.0, 1), (3, 0.25, 2), (4, 0.5, 1), (0, 0.0, 2), (0, 0.25, 1), (0, 0.5, 2)]


def threshold_engine(tiles: int, overlap: float, side: int = 256) -> OnnxRuntimeEngine:
    spec = replace(tiled(threshold_spec(), tiles, overlap), stage2=Size(side, side))
    model = cascade_model(spec, threshold_network(1), threshold_network(2), "fp32")
    assert lint(model) == []
    return OnnxRuntimeEngine(model.SerializeToString())


@pytest.fixture(scope="module")
def windows() -> OnnxRuntimeEngine:
    return threshold_engine(0, 0.25)


@pytest.mark.parametrize(("height", "width"), SEPARATE_SIZES + ODD_SIZES)
def test_all_tiles_return_every_pixel_that_was_drawn(
    windows: OnnxRuntimeEngine, height: int, width: int
) -> None:
    shape = ellipse(height, width)
    mask = windows.run({"image": shape[None] * np.uint8(255)}, ("mask",))["mask"][0]
    np.testing.assert_array_equal(mask, shape)


@pytest.mark.parametrize(("height", "width"), SEPARATE_SIZES)
def test_the_best_tiles_return_the_shape_that_was_drawn(height: int, width: int) -> None:
    """A shape of a fifth of the sides; enough tiles for the largest of them."""
    shape = np.zeros((height, width), np.uint8)
    small = ellipse(height // 3, width // 3)
    shape[-len(small) :, -small.shape[1] :] = small
    with threshold_engine(12, 0.25) as engine:
        found = engine.run({"image": shape[None] * np.uint8(255)}, ("mask", "box", "score"))
    assert dice(found["mask"][0], shape, 1) >= 0.998
    assert len(found["box"][0]) == (12 if height > 512 else 9)
    assert 0.9 < found["score"][0] <= 1


@pytest.mark.parametrize("channels", ["grey", "rgb"])
@pytest.mark.parametrize(("tiles", "overlap", "classes"), GRIDS)
def test_every_output_is_pytorchs(tiles: int, overlap: float, classes: int, channels: str) -> None:
    kind = "uint16" if tiles == 3 else "uint8"
    spec = tiled(small_spec(kind, classes, channels=channels), tiles, overlap)
    inputs, colours = spec.input_channels, () if channels == "grey" else (spec.input_channels,)
    stage1 = random_network(inputs, spec.output_channels, 1)
    stage2 = random_network(inputs + 1, spec.output_channels, 2)
    reference = TorchCascade(spec, stage1, stage2).eval()
    model = cascade_model(spec, folded(stage1), folded(stage2), "fp32")
    assert lint(model) == []
    rng = np.random.default_rng(0)
    differing = union = 0
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        for shape in [(1, 100, 140), (2, 31, 200), (2, 7, 7), (1, 1, 50), (1, 1, 1), (1, 31, 2000)]:
            image = rng.integers(0, np.iinfo(kind).max, (*shape, *colours)).astype(kind)
            found = engine.run({"image": feed(image)}, OUTPUTS)
            with torch.inference_mode():
                wanted = reference(torch.from_numpy(image.astype(np.float32)))
            np.testing.assert_array_equal(found["box"], wanted.box.numpy())
            for name in ("coarse", "refined", "score"):
                np.testing.assert_allclose(found[name], getattr(wanted, name).numpy(), atol=2e-5)
            mask = wanted.mask.numpy()
            differing += np.count_nonzero(found["mask"] != mask)
            union += np.count_nonzero((found["mask"] > 0) | (mask > 0))
    assert union > 0
    assert differing / union <= 0.001


def probability_network() -> nn.Conv2d:
    """Return a network whose probability is the logistic function of the pixel, 0 to 1."""
    network = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, 0] = 1.0
        network.bias.fill_(-0.5)  # type: ignore[union-attr]
    return network.eval()


def slope(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a smooth image whose every contour crosses many tiles."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 37.0 + 0.3) + np.cos(y / 29.0) + (x + y) / (height + width)
    return np.rint(255 * (waves + 2) / 5).astype(np.uint8)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_blending_leaves_no_seams(overlap: float) -> None:
    """All tiles agree on every pixel, so their blend must, too: the contour is the image's own."""
    spec = replace(tiled(threshold_spec(), 0, overlap), stage2=Size(64, 96), mask_threshold=0.55)
    model = cascade_model(spec, threshold_network(1), probability_network(), "fp32")
    image = slope(250, 333)
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        mask = engine.run({"image": image[None]}, ("mask",))["mask"][0]
    wanted = 1 / (1 + np.exp(0.5 - image / 255)) > 0.55
    assert 0.1 < wanted.mean() < 0.9
    np.testing.assert_array_equal(mask, wanted)


def test_where_two_tiles_differ_the_mask_changes_in_the_middle_of_their_overlap() -> None:
    """Stage 2 that says yes in tiles with a bright corner, no in others: the border is halfway."""
    spec = tiled(replace(threshold_spec(), stage2=Size(64, 64)), 0, 0.5)
    stage1, stage2 = threshold_network(1), nn.Conv2d(2, 1, 127, padding=63)
    with torch.no_grad():
        stage2.weight.zero_()
        stage2.weight[0, 0] = 1.0  # the sum of all pixels of the tile, whichever the pixel
        stage2.bias.fill_(-1200.0)  # type: ignore[union-attr]
    image = np.zeros((1, 64, 96), np.uint8)
    image[:, :, :32] = 255  # tile 0 sees 2048 bright pixels, tile 1 none
    with torch.inference_mode():
        mask = TorchCascade(spec, stage1, stage2).eval()(torch.from_numpy(image).float()).mask
    np.testing.assert_array_equal(mask[0].numpy(), np.arange(96)[None].repeat(64, 0) < 48)


def test_an_image_of_fewer_tiles_than_asked_for_has_them_all() -> None:
    shape = ellipse(100, 400)
    many, one = threshold_engine(9, 0.25), threshold_engine(0, 0.25)
    with many, one:
        feeds = {"image": shape[None] * np.uint8(255)}
        found, wanted = (engine.run(feeds, OUTPUTS) for engine in (many, one))
    np.testing.assert_array_equal(found["mask"], wanted["mask"])
    assert wanted["box"].tolist() == [[[0, 0, 256, 100], [192, 0, 400, 100]]]
    assert sorted(found["box"][0].tolist()) == wanted["box"][0].tolist()
    assert found["refined"].shape == (2, 1, 256, 256)
    np.testing.assert_allclose(found["score"], wanted["score"], atol=1e-6)


def test_each_image_of_a_batch_has_its_own_tiles() -> None:
    images = np.zeros((3, 600, 800), np.uint8)
    images[0, 550:590, 20:60] = images[1, 10:50, 700:740] = 255
    with threshold_engine(2, 0.0) as engine:
        found = engine.run({"image": images}, OUTPUTS)
    np.testing.assert_array_equal(found["mask"], images > 0)
    assert found["box"][0, 0].tolist() == [0, 512, 256, 600]
    assert found["box"][1, 0].tolist() == [512, 0, 768, 256]
    assert found["score"][2] == 0 and found["refined"].shape == (6, 1, 256, 256)


def test_the_hint_lies_on_the_pixels_it_is_about() -> None:
    """A stage 2 that repeats stage 1's opinion gives stage 1's shape, in whichever tile."""
    network = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, 1] = 20.0
        network.bias.fill_(-10.0)  # type: ignore[union-attr]
    spec: CascadeSpec = tiled(threshold_spec(), 0, 0.25)
    model = cascade_model(spec, threshold_network(1), network, "fp32")
    shape = ellipse(900, 700)
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        mask = engine.run({"image": shape[None] * np.uint8(255)}, ("mask",))["mask"][0]
    assert dice(mask, shape, 1) > 0.99
