"""Every network exports, and gives PyTorch's masks in every precision."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from foveate.export.int8.quantise import quantise, value_ranges
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.onnx_graph.lint import lint
from foveate.export.reference import torch_cascade
from foveate.export.tensorrt.build import build_plan
from foveate.runtime.arrays import Array
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.hardware import processor
from foveate.runtime.engines.registry import engine_from_onnx
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.toolkit import Toolkit
from foveate.runtime.errors import BundleError, EngineError
from foveate.train.networks.encoders import colour_encoders, models
from foveate.train.reference.cascade import Output, TorchCascade
from foveate.train.runs.run import load_run
from foveate.train.settings.network_choice import ENCODERS, IMAGENET, UNETS, NetworkChoice
from tests.bad.bundles import sign
from tests.conftest import run, train
from tests.drawing import small_spec
from tests.networks import folded_pair, trained_cascade

KINDS = (*UNETS, "resnet18")
MIXED = ("residual_attention", "efficientnet_lite0", "efficientnet-b0")
"""Between them they have every operator that a network may have."""
SEEN = ("mask", "coarse", "refined")
ROUNDING = 2e-4
"""Of a probability: the fifty layers of an encoder added up to 6e-5 on one processor."""


@pytest.fixture(scope="module")
def image() -> Array:
    return np.random.default_rng(0).integers(0, 256, (2, 100, 140), dtype=np.uint8)


def graph_of(cascade: TorchCascade, precision: str) -> onnx.ModelProto:
    model = cascade_model(cascade.spec, *folded_pair(cascade), precision)
    assert lint(model) == []
    return model


def answer(cascade: TorchCascade, image: Array) -> Output:
    with torch.inference_mode():
        output: Output = cascade(torch.from_numpy(image.astype(np.float32)))
    return output


def ran(model: onnx.ModelProto, image: Array, engine: str, bf16: bool = False) -> dict[str, Array]:
    graph = model.SerializeToString()
    try:
        with engine_from_onnx(engine, graph, 0, bf16) as loaded:
            return loaded.run({"image": image}, SEEN)
    except EngineError as error:
        if not bf16:
            raise
        pytest.skip(str(error))


def apart(found: Array, expected: Array) -> float:
    """Return the share of the foreground of either mask on which they differ."""
    union = np.count_nonzero((found > 0) | (expected > 0))
    assert union > 0
    return np.count_nonzero(found != expected) / union


def check_exact(found: dict[str, Array], expected: Output) -> None:
    for name in ("coarse", "refined"):
        np.testing.assert_allclose(found[name], getattr(expected, name).numpy(), atol=ROUNDING)
    assert apart(found["mask"], expected.mask.numpy()) <= 0.001


@pytest.mark.parametrize("name", KINDS)
def test_every_network_gives_pytorchs_masks(name: str, image: Array) -> None:
    cascade = trained_cascade(small_spec(classes=3), name)
    found = ran(graph_of(cascade, "fp32"), image, "onnxruntime")
    check_exact(found, answer(cascade, image))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in KINDS])
def test_every_encoder_gives_pytorchs_masks(name: str, image: Array) -> None:
    cascade = trained_cascade(small_spec(single=True), name)
    check_exact(ran(graph_of(cascade, "fp32"), image, "onnxruntime"), answer(cascade, image))


@pytest.mark.parametrize("name", ["residual_attention", "efficientnet-b0"])
def test_networks_at_the_images_own_size(name: str, image: Array) -> None:
    spec = replace(small_spec(single=True), pad_multiple=8)
    cascade = trained_cascade(spec, name)
    check_exact(ran(graph_of(cascade, "fp32"), image, "onnxruntime"), answer(cascade, image))


@pytest.mark.parametrize("name", MIXED)
def test_networks_on_openvino_in_float32_and_bfloat16(name: str, image: Array) -> None:
    pytest.importorskip("foveate.runtime.engines.openvino_import")
    cascade = trained_cascade(small_spec(classes=3, single=True), name)
    model, expected = graph_of(cascade, "fp32"), answer(cascade, image)
    check_exact(ran(model, image, "openvino"), expected)
    found = ran(model, image, "openvino", bf16=True)["coarse"]
    assert 0 < np.abs(found - expected.coarse.numpy()).mean() < 0.02


@pytest.mark.parametrize("name", MIXED)
def test_networks_in_float16(name: str, image: Array) -> None:
    """ONNX Runtime emulates float16 on a CPU; for networks this small that is quick."""
    cascade = trained_cascade(small_spec(single=True), name)
    found = ran(graph_of(cascade, "fp16"), image, "onnxruntime")["coarse"]
    assert 0 < np.abs(found - answer(cascade, image).coarse.numpy()).max() < 0.02


@pytest.mark.parametrize("name", MIXED)
def test_networks_in_8_bits(name: str, image: Array) -> None:
    cascade = trained_cascade(small_spec(single=True), name)
    model = graph_of(cascade, "int8")
    graph = quantise(model, value_ranges(model, [image]), ())
    assert lint(graph) == []
    kinds = {item.name for item in graph.graph.initializer if item.name.endswith(".weight")}
    assert not kinds, "a convolution was left in float32"
    expected = answer(cascade, image).coarse.numpy()
    engines = ("onnxruntime", *(() if processor().cuts_int8 else ("openvino",)))
    found = [ran(graph, image, engine)["coarse"] for engine in engines]
    assert all(np.abs(each - expected).mean() < 0.2 * expected.std() for each in found)


@pytest.mark.parametrize("name", MIXED)
def test_networks_become_plans(name: str, tmp_path: Path) -> None:
    module = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    kit = Toolkit("tensorrt_rtx", module.__version__, module)
    graph = graph_of(trained_cascade(small_spec(single=True), name), "fp16").SerializeToString()
    options = BuildOptions(((160, 160), (64, 200)), (1, 2, 4))
    log = tmp_path / "build.log"
    assert len(build_plan(kit, graph, options, log, lambda *step: None)) > 100_000
    assert "ERROR" not in log.read_text().replace("INTERNAL_ERROR: Thread context", "")


TRAININGS = [
    ("residual", "loss=focal_tversky", "class_weights=auto"),
    ("resnet18", "depth=3", "encoder_weights={weights}"),
]


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("settings", TRAININGS, ids=["residual", "encoder"])
def test_a_training_from_end_to_end(
    settings: tuple[str, ...], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched: a socket that connects is an error."""
    monkeypatch.setattr("socket.socket.connect", _refuse)
    weights, run_folder, bundle = (tmp_path / name for name in ("w.safetensors", "run", "b"))
    save_file(models().encoders.get_encoder("resnet18", weights=None).state_dict(), weights)
    name, *more = settings
    values = [f"network={name}", "num_epochs=1", "hint_folds=0", *more]
    options = [part for value in values for part in ("--set", value.format(weights=weights))]
    result = train(data, run_folder, *options)
    assert result.exception is None, result.output
    result = run("export", run_folder, "--out", bundle, "--precision", "fp32,fp16")
    assert result.exception is None, result.output
    parity = json.loads((bundle / "parity.json").read_text())["precisions"]
    assert parity["fp32"]["held"] and parity["fp16"]["held"]
    manifest = open_bundle(bundle).manifest
    assert manifest["network"] == {"name": name, "width": 4, "depth": 3 if name in ENCODERS else 2}
    again = torch_cascade(open_bundle(bundle))
    image = np.random.default_rng(0).integers(0, 2**16, (1, 60, 90), dtype=np.uint16)
    trained, _ = load_run(run_folder)
    torch.testing.assert_close(answer(again, image).coarse, answer(trained, image).coarse)
    sign(bundle, lambda manifest: manifest["network"].update(name="unet9"))
    with pytest.raises(BundleError, match='manifest.json: network "unet9"; expected one of unet'):
        torch_cascade(open_bundle(bundle))


OF_STAGE2 = [
    ("residual", "stage2_width=8"),
    ("efficientnet_lite0", "encoder_weights=imagenet", "learning_rate=1e-7"),
]


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("settings", OF_STAGE2, ids=["residual", "encoder"])
def test_stage_2_may_have_another_network(
    settings: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    name, *more = settings
    values = [f"stage2_network={name}", "stage2_depth=3", "num_epochs=1", "hint_folds=0", *more]
    options = [part for value in values for part in ("--set", value)]
    paths = [tmp_path / part for part in ("run", "made", "again")]
    result = train(data, paths[0], *options)
    assert result.exception is None, result.output
    for source, out in pairwise(paths):  # the second is made from the bundle alone
        result = run("export", source, "--out", out, "--precision", "fp32,fp16")
        assert result.exception is None, result.output
    made, again = (open_bundle(path) for path in paths[1:])
    assert made.graph("fp32") == again.graph("fp32")
    stage2 = {"name": name, "width": made.width, "depth": 3}
    both = {"name": "unet", "width": 4, "depth": 2, "stage2": stage2}
    assert made.manifest["network"] == again.manifest["network"] == both
    assert made.width == (8 if name == "residual" else 4)
    said = " ".join(run("info", paths[1]).output.split())
    assert f"unet, width 4, depth 2; stage 2: {name}, width {made.width}, depth 3" in said
    image = np.random.default_rng(0).integers(0, 2**16, (1, 60, 90), dtype=np.uint16)
    trained, _ = load_run(paths[0])
    expected, graph = answer(trained, image), onnx.load_from_string(again.graph("fp32"))
    found = ran(graph, image.view(np.uint8).reshape(1, 60, 90, 2), "onnxruntime")
    for part in ("coarse", "refined"):
        np.testing.assert_allclose(found[part], getattr(expected, part), atol=ROUNDING)
    if name in IMAGENET:
        choice = NetworkChoice(name, 4, 3)
        published = colour_encoders([choice], "imagenet")[choice].state_dict()
        own = trained.stage2.encoder.state_dict()
        for key in ("model.blocks.0.0.conv_dw.weight", "model.conv_stem.weight"):
            torch.testing.assert_close(own[key][:, 0], published[key].sum(dim=1), atol=1e-4, rtol=0)


def _refuse(*arguments: object) -> None:
    raise AssertionError(f"something connects: {arguments}")
