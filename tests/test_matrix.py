"""Every CPU engine, precision and region mode: the drawn shape, and PyTorch's masks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from torch import nn

from foveate.export.int8.quantise import quantise, value_ranges
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.reference import torch_cascade
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, dice
from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.base import Engine
from foveate.runtime.engines.registry import engine_from_onnx
from foveate.runtime.spec import CascadeSpec, Region
from foveate.train.data.phantom import PhantomSettings, phantom
from foveate.train.reference.cascade import TorchCascade
from tests.drawing import (
    SEPARATE_SIZES,
    ellipse,
    threshold_network,
    threshold_spec,
    tiled,
)
from tests.test_layout import ROOT

DEMO = ROOT / "benchmarks" / "demo_bundle"
MODES = ("box", "tiles", "none")
VARIANTS = [
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
]


def in_mode(spec: CascadeSpec, mode: str, tiles: int) -> CascadeSpec:
    if mode == "tiles":
        return tiled(spec, tiles, 0.25)
    return spec if mode == "box" else replace(spec, stage2=None, region=Region("none"))


def loaded(
    spec: CascadeSpec, networks: list[nn.Module], variant: tuple[str, str], images: list[np.ndarray]
) -> Engine:
    """Return an engine; int8 is calibrated on the images."""
    name, precision = variant
    stage2 = None if spec.stage2 is None else networks[1]
    graph_precision = "int8" if precision == "int8" else "fp32"
    model = cascade_model(spec, networks[0], stage2, graph_precision)
    if precision == "int8":
        model = quantise(model, value_ranges(model, images), ())
    if name == "openvino":
        pytest.importorskip("foveate.runtime.engines.openvino_import")
    return engine_from_onnx(name, model.SerializeToString(), 0, precision == "bf16")


MATRIX = [
    pytest.param(
        mode,
        variant,
        id=" ".join((mode, *variant)),
        marks=[] if mode == "box" or variant == VARIANTS[0] else pytest.mark.slow,
    )
    for mode in MODES
    for variant in VARIANTS
]


@pytest.mark.parametrize(("mode", "variant"), MATRIX)
def test_the_threshold_graph_returns_the_shape_that_was_drawn(
    mode: str, variant: tuple[str, str]
) -> None:
    spec = in_mode(threshold_spec(), mode, 0)
    if mode == "none":
        spec = replace(spec, pad_multiple=16)
    images = [ellipse(*size)[None] * np.uint8(255) for size in SEPARATE_SIZES]
    networks: list[nn.Module] = [threshold_network(1), threshold_network(2)]
    with loaded(spec, networks, variant, images[:1]) as engine:
        for image in images:
            mask = engine.run({"image": image}, ("mask",))["mask"]
            assert dice(mask, image // 255, 1) >= 0.998


@pytest.fixture(scope="module")
def phantoms() -> list[np.ndarray]:
    settings = PhantomSettings(3, 1024, seed=12, bits=16)
    return [phantom(settings, index).image for index in range(settings.count)]


@cache
def reference(mode: str) -> TorchCascade:
    """The demo's networks in another region mode, on phantoms of the size they were trained on."""
    demo = torch_cascade(open_bundle(DEMO))
    spec = in_mode(demo.spec, mode, 4)
    return TorchCascade(spec, demo.stage1, demo.stage2 if spec.stage2 else None).eval()


@pytest.mark.parametrize(("mode", "variant"), MATRIX)
def test_masks_are_pytorchs_inside_the_bounds(
    mode: str, variant: tuple[str, str], phantoms: list[np.ndarray]
) -> None:
    total, expected = Disagreement(), reference(mode)
    networks = [network for network in (expected.stage1, expected.stage2) if network is not None]
    images = [feed(image[None]) for image in phantoms]
    with loaded(expected.spec, networks, variant, images) as engine:
        for number, image in enumerate(phantoms):
            found = engine.run({"image": images[number]}, ("mask",))["mask"][0]
            total.add(compare_masks(str(number), found, expected.segment(image)[0], False, None))
    assert sum(pair.union for pair in total.pairs) > 0
    assert total.value <= BOUNDS[variant[1]][0]
