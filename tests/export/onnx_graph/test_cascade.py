"""The fused graph in ONNX Runtime: the drawn shape comes back, and PyTorch's masks come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from foveate.export.folding import folded, rounded_to_half
from foveate.export.onnx_graph.cascade import OUTPUTS, cascade_model, stage_model
from foveate.export.onnx_graph.lint import lint
from foveate.runtime.agreement import dice
from foveate.runtime.arrays import feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.spec import Normalisation, Region
from foveate.train.data.phantom import PhantomSettings, phantom
from foveate.train.reference.cascade import TorchCascade
from tests.drawing import (
    ODD_SIZES,
    SEPARATE_SIZES,
    ellipse,
    in_channels,
    random_network,
    small_spec,
    threshold_network,
    threshold_spec,
)


@pytest.fixture(
    scope="module",
    params=[("uint8", "grey", 0), ("uint16", "grey", 0), ("uint16", "rgb", 1), ("uint8", "5", 4)],
    ids=str,
)
def thresholds(request: pytest.FixtureRequest) -> tuple[str, str, int, OnnxRuntimeEngine]:
    """Return type, channels, the one channel that counts, and the engine."""
    input_type, channels, seen = request.param
    spec = threshold_spec(input_type, channels)
    first = spec.input_channels
    networks = (threshold_network(inputs, channel=seen) for inputs in (first, first + 1))
    model = cascade_model(spec, *networks, "fp32")
    return input_type, channels, seen, OnnxRuntimeEngine(model.SerializeToString())


@pytest.mark.parametrize(("height", "width"), SEPARATE_SIZES + ODD_SIZES)
def test_the_threshold_graph_returns_the_shape_that_was_drawn(
    thresholds: tuple[str, str, int, OnnxRuntimeEngine], height: int, width: int
) -> None:
    input_type, channels, seen, engine = thresholds
    shape = ellipse(height, width)
    assert shape.any() or height * width < 50
    if not shape.any():
        shape[:, : width // 2] = 1
    full = np.iinfo(input_type).max
    image = (in_channels(shape, channels, seen).astype(np.uint32) * full).astype(input_type)
    found = engine.run({"image": feed(image[None])}, ("mask", "box", "score"))
    mask = found["mask"][0]
    assert mask.shape == shape.shape and mask.dtype == np.uint8
    assert dice(mask, shape, 1) >= 0.998
    left, top, right, bottom = found["box"][0, 0]
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert 0.5 < found["score"][0] <= 1


@pytest.mark.parametrize(("height", "width"), SEPARATE_SIZES + ODD_SIZES)
def test_a_network_at_the_images_own_size_returns_every_pixel(height: int, width: int) -> None:
    spec = replace(threshold_spec(), stage2=None, region=Region("none"), pad_multiple=16)
    model = cascade_model(spec, threshold_network(1), None, "fp32")
    shape = ellipse(height, width)
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        found = engine.run({"image": shape[None] * np.uint8(255)}, ("mask", "box", "coarse"))
    np.testing.assert_array_equal(found["mask"][0], shape)
    assert found["box"].tolist() == [[[0, 0, width, height]]]
    assert found["coarse"].shape == (1, 1, height, width)


def test_nothing_drawn_is_an_empty_mask_and_the_whole_image() -> None:
    networks = threshold_network(1), threshold_network(2)
    model = cascade_model(threshold_spec(), *networks, "fp32")
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        image = np.zeros((1, 300, 200), np.uint8)
        found = engine.run({"image": image}, OUTPUTS)
    assert not found["mask"].any()
    assert found["box"][0, 0].tolist() == [0, 0, 200, 300]
    assert found["score"].tolist() == [0]


@pytest.mark.parametrize(("classes", "least"), [(10, 32), (1, 5), (12, 5)])
def test_many_classes_and_boxes_smaller_than_the_crop(classes: int, least: int) -> None:
    region = Region("box", 0.5, 0.1, least, least)
    spec = replace(small_spec(classes=classes), region=region)
    networks = (
        random_network(1, spec.output_channels, 3),
        random_network(2, spec.output_channels, 4),
    )
    reference = TorchCascade(spec, *networks).eval()
    model = cascade_model(spec, folded(networks[0]), folded(networks[1]), "fp32")
    image = np.zeros((2, 210, 97), np.uint8)
    image[0, 60:70, 20:28] = 255
    image[1] = np.random.default_rng(1).integers(0, 255, (210, 97))
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        found = engine.run({"image": image}, ("mask", "box", "refined"))
    with torch.inference_mode():
        wanted = reference(torch.from_numpy(image.astype(np.float32)))
    np.testing.assert_array_equal(found["box"], wanted.box.numpy())
    np.testing.assert_allclose(found["refined"], wanted.refined.numpy(), atol=2e-5)
    assert len(np.unique(found["mask"])) > 1
    assert np.count_nonzero(found["mask"] != wanted.mask.numpy()) <= 0.001 * image.size


@pytest.mark.parametrize("kind", ["cascade", "opening 5", "single", "own size"])
@pytest.mark.parametrize(
    ("input_type", "classes", "mode", "channels"),
    [
        ("uint8", 1, "constants", "grey"), ("uint16", 2, "zscore", "grey"),
        ("uint16", 1, "imagenet", "rgb"), ("uint8", 2, "zscore", "rgb"),
        ("uint8", 1, "constants", "4"), ("uint16", 2, "zscore", "4"),
    ],
)  # fmt: skip
def test_every_output_is_pytorchs(
    input_type: str, classes: int, kind: str, mode: str, channels: str
) -> None:
    single = kind in ("single", "own size")
    spec = small_spec(input_type, classes, single, mode, channels)
    if kind == "own size":
        spec = replace(spec, pad_multiple=4)
    if kind == "opening 5":
        spec = replace(spec, region=replace(spec.region, opening=5))
    inputs, sides = spec.input_channels, () if channels == "grey" else (spec.input_channels,)
    stage1 = random_network(inputs, spec.output_channels, 1)
    stage2 = None if single else random_network(inputs + 1, spec.output_channels, 2)
    reference = TorchCascade(spec, stage1, stage2).eval()
    second = None if stage2 is None else folded(stage2)
    model = cascade_model(spec, folded(stage1), second, "fp32")
    assert lint(model) == []
    rng = np.random.default_rng(0)
    differing = union = 0
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        for count, height, width in [(1, 100, 140), (3, 31, 200), (2, 7, 7), (1, 1, 50)]:
            high = np.iinfo(input_type).max
            image = rng.integers(0, high, (count, height, width, *sides)).astype(input_type)
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


@pytest.mark.parametrize("index", [0, 1])
def test_phantoms_give_pytorchs_masks(index: int) -> None:
    item = phantom(PhantomSettings(4, 0, seed=77), index)
    spec = small_spec(str(item.image.dtype))
    networks = random_network(1, 1, 3), random_network(2, 1, 4)
    reference = TorchCascade(spec, *networks).eval()
    model = cascade_model(spec, folded(networks[0]), folded(networks[1]), "fp32")
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        mask = engine.run({"image": feed(item.image[None])}, ("mask",))["mask"]
    with torch.inference_mode():
        wanted = reference(torch.from_numpy(item.image.astype(np.float32))[None]).mask.numpy()
    union = np.count_nonzero((mask > 0) | (wanted > 0))
    assert union > 0
    assert np.count_nonzero(mask != wanted) / union <= 0.001


def test_names_types_and_operator_set_are_the_contracts() -> None:
    spec = small_spec("uint16", 2)
    networks = folded(random_network(1, 3, 0)), folded(random_network(2, 3, 1))
    model = cascade_model(spec, *networks, "fp16")
    assert [item.version for item in model.opset_import] == [18]
    assert [item.name for item in model.graph.output] == list(OUTPUTS)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [item.dim_param or item.dim_value for item in shape] == ["N", "H", "W", 2]
    inner = {name for node in model.graph.node for name in node.output}
    assert {"stage1_input", "stage1_logits", "stage2_input", "stage2_logits"} <= inner
    types = {
        item.name: item.type.tensor_type.elem_type
        for item in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for name in ("stage1_input", "stage1_logits", "stage2_input", "stage2_logits"):
        assert types[name] == onnx.TensorProto.FLOAT
    halves = {i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT16}
    weights = {i.name for i in model.graph.initializer if i.name.startswith("stage")}
    assert halves == weights and len(weights) == 2 * 2 * (10 + 2 + 1)


def test_the_fp16_graph_is_close_to_fp32() -> None:
    """ONNX Runtime emulates float16 on a CPU; for a network this small that is quick."""
    spec = small_spec()
    networks = folded(random_network(1, 1, 5)), folded(random_network(2, 1, 6))
    image = phantom(PhantomSettings(1, 160, seed=5, bits=8), 0).image[None]
    found = []
    for precision in ("fp32", "fp16"):
        model = cascade_model(spec, *networks, precision)
        assert lint(model) == []
        with OnnxRuntimeEngine(model.SerializeToString()) as engine:
            found.append(engine.run({"image": image}, ("coarse",))["coarse"])
    assert 0 < np.abs(found[0] - found[1]).max() < 0.02


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_stage_cut_out_is_that_stage(stage: str) -> None:
    spec = small_spec()
    networks = random_network(1, 1, 5), random_network(2, 1, 6)
    model = cascade_model(spec, folded(networks[0]), folded(networks[1]), "fp32")
    network = networks[int(stage[-1]) - 1]
    size = spec.stage1 if stage == "stage1" else spec.stage2
    assert size is not None
    x = torch.randn(2, network.inputs, size.height, size.width)
    with OnnxRuntimeEngine(stage_model(model, stage).SerializeToString()) as engine:
        found = engine.run({f"{stage}_input": x.numpy()}, (f"{stage}_logits",))[f"{stage}_logits"]
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(x).numpy(), atol=2e-5)


def test_folding_keeps_the_network_and_rounding_changes_it_little() -> None:
    network = random_network(1, 1, 9)
    x = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(folded(network)(x), network(x), atol=1e-5, rtol=1e-5)
        apart = (rounded_to_half(folded(network))(x) - network(x)).abs().max()
    assert 0 < float(apart) < 0.02


def test_the_mean_of_a_million_pixels_is_exact() -> None:
    """Engines add up in float32; a bright image with little contrast loses the most by it."""
    spec = replace(threshold_spec(), stage2=None, region=Region("none"), pad_multiple=16)
    image = np.random.default_rng(5).integers(200, 256, (1024, 1024), dtype=np.uint8)
    network = torch.nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        network.weight.fill_(1.0)
        network.bias.fill_(0.0)  # type: ignore[union-attr]
    spec = replace(spec, normalisation=Normalisation("zscore"))
    model = cascade_model(spec, network, None, "fp32")
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        coarse = engine.run({"image": image[None]}, ("coarse",))["coarse"][0, 0]
    values = image / 255
    wanted = 1 / (1 + np.exp(-(values - values.mean()) / values.std()))
    np.testing.assert_allclose(coarse, wanted, atol=2e-5)
