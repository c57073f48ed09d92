"""Networks trained elsewhere: the bundle's masks are those of the network run by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import Tensor, nn

from foveate.export import ImportSettings, import_network
from foveate.export.importing.stage import IMAGENET
from foveate.export.tensorrt.build import build_plan
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.registry import engine_from_onnx
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.toolkit import Toolkit
from foveate.runtime.spec import Size, channel_count
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.reference.cascade import TorchCascade
from tests.conftest import run
from tests.export.importing.networks import (
    SIDE,
    ZOO,
    Centred,
    PlainUNet,
    export_onnx,
    keras_like,
    network,
)

SLOW = pytest.mark.slow
SHAPES = ((64, 64), (90, 70), (50, 131))
FEW = ("plain", "smp Unet")


class Stage(nn.Module):
    """A network around which a stage is written by hand: grey repeated, ImageNet's constants."""

    def __init__(self, network: nn.Module, colours: int, imagenet: bool, maps: int) -> None:
        super().__init__()
        self.network, self.colours, self.imagenet = network, colours, imagenet
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        image = x.expand(-1, self.colours, -1, -1)
        if self.imagenet:
            mean, std = (torch.tensor(part).reshape(1, 3, 1, 1) for part in IMAGENET)
            image = (image - mean) / std
        logits: Tensor = self.network(image)
        return logits[:, 1:] - logits[:, :1] if self.maps == 2 else logits


def images(channels: int = 1) -> list[npt.NDArray[np.uint8]]:
    """Return smooth noise of several sizes, (H, W, C) with several channels."""
    rng, more = np.random.default_rng(0), (channels,) * (channels > 1)
    small = [rng.integers(0, 256, (h // 4, w // 4, *more)) for h, w in SHAPES]
    large = [part.repeat(4, axis=0).repeat(4, axis=1) for part in small]
    return [part.astype(np.uint8) for part in large]


def check_masks(bundle: Path, reference: TorchCascade, engine: str) -> None:
    """Compare the bundle's masks of images of mixed sizes with the reference's."""
    total, given = Disagreement(), images(reference.spec.input_channels)
    with Cascade.load(bundle, engine, "fp32") as cascade:
        for number, result in enumerate(cascade.batch(given)):
            mask, _ = reference.segment(given[number])
            total.add(compare_masks(str(number), result.mask, mask, False, None))
            assert mask.any()
    assert total.value <= BOUNDS["fp32"][0]


def check_fp16(graph: bytes, reference: TorchCascade) -> None:
    """Compare the probabilities of the fp16 graph in OpenVINO: random networks magnify rounding."""
    with engine_from_onnx("openvino", graph) as engine:
        for image in images():
            found = engine.run({"image": image[None]}, ("coarse",))["coarse"]
            np.testing.assert_allclose(found, reference.run(image).coarse.numpy(), atol=0.05)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FEW else SLOW) for n in ZOO])
def test_the_masks_are_those_of_the_network_by_hand(
    name: str, tmp_path: Path, rtx: Toolkit
) -> None:
    channels, maps, _ = ZOO[name]
    module = network(name)
    path = export_onnx(module, tmp_path / "net.onnx", channels)
    how, more = ("imagenet" if channels == 3 else "zscore"), ()
    if maps > 1:
        more = ("--activation", "softmax")
    out = tmp_path / "net.bundle"
    result = run("import", path, "--normalise", how, "--out", out, *more)
    assert result.exception is None, result.exception
    spec = open_bundle(out).spec
    reference = TorchCascade(spec, Stage(module, channels, channels == 3, maps), None).eval()
    for engine in ("onnxruntime", "openvino"):
        check_masks(out, reference, engine)
    check_fp16(open_bundle(out).graph("fp16"), reference)
    options = BuildOptions(((64, 128), (64, 128)), (1, 2, 4))
    for precision in ("fp32", "fp16"):
        graph, log = open_bundle(out).graph(precision), tmp_path / "log"
        assert len(build_plan(rtx, graph, options, log, lambda *step: None)) > 100_000


@pytest.fixture
def rtx() -> Toolkit:
    module = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    return Toolkit("tensorrt_rtx", module.__version__, module)


def test_two_stages_with_a_hint(tmp_path: Path, data: Path) -> None:
    torch.manual_seed(1)
    coarse, fine = Centred(PlainUNet(), 1), Centred(PlainUNet(2), 2)
    paths = [
        export_onnx(coarse.eval(), tmp_path / "coarse.onnx", 1),
        export_onnx(fine.eval(), tmp_path / "fine.onnx", 2, opset=13, dynamic=True),
    ]
    out = tmp_path / "two.bundle"
    result = run(
        "import", paths[0], "--stage2", paths[1], "--hint", "--normalise", "0-1", "--size",
        f"{SIDE}x{SIDE},48x32", "--data", data, "--classes", "lesion", "--licence", "MIT",
        "--precision", "fp32,int8", "--out", out,
    )  # fmt: skip
    assert result.exception is None, result.exception
    assert "by hand with OpenCV" in result.output
    bundle = open_bundle(out)
    assert bundle.spec.stage2 == Size(48, 32) and bundle.spec.classes == ("background", "lesion")
    reference = TorchCascade(bundle.spec, coarse, fine).eval()
    for engine in ("onnxruntime", "openvino"):
        check_masks(out, reference, engine)
    record = json.loads((out / "parity.json").read_text())
    assert record["networks"]["stage2"]["largest_difference"] < 1e-4
    assert "float_blocks" in record["precisions"]["int8"]
    shown = run("bundle", "show", out).output
    assert "coarse.onnx" in shown and "fine.onnx" in shown and "MIT" in shown


@pytest.mark.parametrize(
    ("channels", "how"), [("rgb", "imagenet"), ("3", "imagenet"), ("5", "zscore")]
)
def test_a_network_of_colours(tmp_path: Path, channels: str, how: str) -> None:
    """ImageNet's constants are the cascade's for rgb, and in front of the network for 3."""
    torch.manual_seed(1)
    module = Centred(PlainUNet(channel_count(channels)), channel_count(channels)).eval()
    path = export_onnx(module, tmp_path / "net.onnx", channel_count(channels))
    out = tmp_path / "net.bundle"
    result = run("import", path, "--normalise", how, "--channels", channels, "--out", out)
    assert result.exception is None, result.exception
    assert "channel(s), the image's, 64x64" in result.output
    spec = open_bundle(out).spec
    assert (spec.channels, spec.normalisation.mode) == (
        channels, {"rgb": "imagenet", "3": "constants", "5": "zscore"}[channels]
    )  # fmt: skip
    network = Stage(module, 3, True, 1) if channels == "3" else module
    for engine in ("onnxruntime", "openvino"):
        check_masks(out, TorchCascade(spec, network, None).eval(), engine)
    wrong = run("import", path, "--normalise", "0-1", "--channels", "4", "--out", tmp_path / "no")
    assert f"has {channel_count(channels)} channels; expected 4" in str(wrong.exception)


def test_two_stages_of_colours(tmp_path: Path) -> None:
    """Box and threshold are chosen, and Dice is measured, on colour images."""
    torch.manual_seed(1)
    coarse, fine = Centred(PlainUNet(3), 3), Centred(PlainUNet(4), 4)
    paths = [
        export_onnx(stage.eval(), tmp_path / f"{inputs}.onnx", inputs)
        for stage, inputs in ((coarse, 3), (fine, 4))
    ]
    data, out = tmp_path / "data", tmp_path / "two.bundle"
    list(write_phantoms(data, PhantomSettings(8, 128, seed=3, bits=8, channels="rgb")))
    result = run(
        "import", paths[0], "--stage2", paths[1], "--hint", "--normalise", "zscore", "--channels",
        "rgb", "--data", data, "--precision", "fp32", "--out", out,
    )  # fmt: skip
    assert result.exception is None, result.exception
    assert "4 channel(s), the last stage 1's probability" in result.output
    reference = TorchCascade(open_bundle(out).spec, coarse, fine).eval()
    for engine in ("onnxruntime", "openvino"):
        check_masks(out, reference, engine)
    record = json.loads((out / "parity.json").read_text())
    assert record["networks"]["stage2"]["largest_difference"] < 1e-4
    assert "input: uint8, rgb, any size" in run("bundle", "show", out).output


def test_pytorchs_exporter_of_today_in_int8(tmp_path: Path, data: Path) -> None:
    """It keeps weights in a second file, and names the sides of what it resizes, not factors."""
    module = network("smp Unet")
    path = export_onnx(module, tmp_path / "net.onnx", 1, dynamo=True)
    assert path.with_name("net.onnx.data").is_file()
    out = tmp_path / "net.bundle"
    how = ("--normalise", "zscore", "--precision", "int8", "--data", data)
    result = run("import", path, *how, "--out", out)
    assert result.exception is None, result.exception
    check_masks(out, TorchCascade(open_bundle(out).spec, module, None).eval(), "openvino")


def test_the_networks_of_a_bundle_can_be_exported_again(tmp_path: Path) -> None:
    path = keras_like(tmp_path / "keras.onnx")
    out, again = tmp_path / "a.bundle", tmp_path / "b.bundle"
    assert run("import", path, "--normalise", "0-255", "--out", out).exception is None
    assert run("export", out, "--out", again, "--precision", "fp32").exception is None
    with Cascade.load(out, "onnxruntime") as first, Cascade.load(again, "onnxruntime") as second:
        for image in images():
            np.testing.assert_array_equal(first(image).mask, second(image).mask)


def test_channels_last_and_a_softmax_of_its_own(tmp_path: Path) -> None:
    path = keras_like(tmp_path / "keras.onnx")
    out = tmp_path / "keras.bundle"
    result = run("import", path, "--normalise", "0-1", "--classes", "a,b", "--out", out)
    assert result.exception is None and "NHWC" in result.output and "softmax" in result.output
    with Cascade.load(out, "onnxruntime") as cascade:
        found = cascade(images()[0], probabilities=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    grey = images()[0][None, :, :, None].astype(np.float32) / 255
    (expected,) = session.run(None, {"image": np.repeat(grey, 3, axis=3)})
    assert found.coarse is not None
    np.testing.assert_allclose(found.coarse, expected[0].transpose(2, 0, 1), atol=1e-5)
    np.testing.assert_array_equal(found.mask, expected[0].argmax(axis=2))


def test_a_network_at_the_images_own_size(tmp_path: Path, data: Path) -> None:
    module = network("plain", nn.Sigmoid())
    path = export_onnx(module, tmp_path / "net.onnx", 1, dynamic=True)
    out = tmp_path / "own.bundle"
    how = ("--normalise", "0.5,0.25", "--pad-multiple", 2, "--data", data)
    result = run("import", path, *how, "--out", out)
    assert result.exception is None, result.exception
    assert "sigmoid in the network" in result.output
    with Cascade.load(out, "openvino") as cascade:
        found = cascade(images()[1], probabilities=True)
    image = torch.from_numpy(images()[1].astype(np.float32) / 255)[None, None]
    with torch.no_grad():
        expected = module((image - 0.5) / 0.25)
    assert found.coarse is not None
    np.testing.assert_allclose(found.coarse, expected[0].numpy(), atol=1e-4)


class Supervised(nn.Module):
    """A network that also gives a map of half the size, for its training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network("plain")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network(x)
        return nn.functional.avg_pool2d(maps, 2), maps


def test_of_deep_supervision_the_largest_map_is_taken(tmp_path: Path) -> None:
    module = Supervised().eval()
    path, out = export_onnx(module, tmp_path / "net.onnx", 1), tmp_path / "net.bundle"
    assert run("import", path, "--normalise", "zscore", "--out", out).exception is None
    reference = TorchCascade(open_bundle(out).spec, module.network, None).eval()
    check_masks(out, reference, "onnxruntime")


@pytest.mark.parametrize("saved", [False, True])
def test_a_module_and_a_saved_program(tmp_path: Path, saved: bool) -> None:
    module = network("plain")
    net: Path | nn.Module = module
    if saved:
        net = tmp_path / "net.pt2"
        torch.export.save(torch.export.export(module, (torch.zeros(1, 1, SIDE, SIDE),)), net)
    settings = ImportSettings("zscore", sizes=() if saved else (Size(SIDE, SIDE),))
    module.train(not saved)
    import_network(net, out=tmp_path / "b", settings=settings, precisions=("fp32",))
    assert module.training is not saved  # it is the caller's
    module.eval()
    spec = open_bundle(tmp_path / "b").spec
    check_masks(tmp_path / "b", TorchCascade(spec, module, None).eval(), "onnxruntime")
    record = json.loads((tmp_path / "b" / "parity.json").read_text())
    assert record["networks"]["stage1"]["original"] == "PyTorch"


def test_a_batch_of_one_written_into_shapes_becomes_any(tmp_path: Path) -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
            self.last = nn.Conv2d(8, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.last(self.norm(self.first(x)).reshape(1, 8, SIDE, SIDE))
            return made

    torch.manual_seed(0)
    path = export_onnx(Normed().eval(), tmp_path / "net.onnx", 1)
    shapes = [node for node in onnx.load(path).graph.node if node.op_type == "Reshape"]
    assert shapes
    out = tmp_path / "b"
    assert run("import", path, "--normalise", "0-1", "--out", out).exception is None
    with Cascade.load(out, "onnxruntime") as cascade:
        same = [np.full((70, 70), value, np.uint8) for value in (10, 200)]
        for image, result in zip(same, cascade.batch(same), strict=True):
            np.testing.assert_array_equal(result.mask, cascade(image).mask)
