"""Every CPU engine, precision and region mode: the drawn shape, and PyTorch's masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from foveate.export.int8.quantise import quantise, value_ranges
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.reference import torch_cascade
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, dice
from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.base import Engine
from foveate.runtime.engines.hardware import processor
from foveate.runtime.engines.registry import CUT_INT8, engine_from_onnx
from foveate.runtime.spec import CascadeSpec, Region
from foveate.train.data.phantom import PhantomSettings, phantom
from foveate.train.reference.cascade import TorchCascade
from tests.drawing import (
    SEPARATE_SIZES,
    ellipse,
    in_channels,
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
    if variant == ("openvino", "int8") and processor().cuts_int8:
        pytest.skip(CUT_INT8)
    if precision == "bf16" and processor().lacks_bf16:
        pytest.skip("needs bfloat16 arithmetic")
    stage2 = None if spec.stage2 is None else networks[1]
    graph_precision = "int8" if precision == "int8" else "fp32"
    model = cascade_model(spec, networks[0], stage2, graph_precision)
    if precision == "int8":
        model = quantise(model, value_ranges(model, images), ())
    if name == "openvino":
        pytest.importorskip("foveate.runtime.engines.openvino_import")
    return engine_from_onnx(name, model.SerializeToString(), 0, precision == "bf16")


EDGES = {("box", *variant) for variant in VARIANTS}
EDGES |= {("tiles", "onnxruntime", "fp32"), ("tiles", "openvino", "bf16")}
EDGES |= {("none", "onnxruntime", "fp32")}
MATRIX = [
    pytest.param(
        variant,
        mode,
        id=" ".join((mode, *variant)),
        marks=() if (mode, *variant) in EDGES else pytest.mark.slow,
    )
    for mode in MODES
    for variant in VARIANTS
]


@pytest.mark.parametrize(
    ("channels", "seen"), [("grey", 0), ("rgb", 1), pytest.param("5", 4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("variant", "mode"), MATRIX)
def test_the_threshold_graph_returns_the_shape_that_was_drawn(
    variant: tuple[str, str], mode: str, channels: str, seen: int
) -> None:
    spec = in_mode(threshold_spec(channels=channels), mode, 0)
    if mode == "none":
        spec = replace(spec, pad_multiple=16)
    shapes = [ellipse(*size) for size in SEPARATE_SIZES]
    images = [in_channels(shape, channels, seen)[None] * np.uint8(255) for shape in shapes]
    networks: list[nn.Module] = [
        threshold_network(spec.input_channels + more, channel=seen) for more in (0, 1)
    ]
    with loaded(spec, networks, variant, images[:1]) as engine:
        for image, shape in zip(images, shapes, strict=True):
            mask = engine.run({"image": image}, ("mask",))["mask"]
            assert dice(mask[0], shape, 1) >= 0.998


@dataclass(frozen=True)
class Reference:
    """The demo's networks in a region mode, and PyTorch's masks of phantoms."""

    cascade: TorchCascade
    images: list[np.ndarray]
    masks: list[np.ndarray]


@cache
def reference(mode: str) -> Reference:
    """Return PyTorch's masks on phantoms of the size that the demo's networks were trained on."""
    demo = torch_cascade(open_bundle(DEMO))
    spec = in_mode(demo.spec, mode, 4)
    cascade = TorchCascade(spec, demo.stage1, demo.stage2 if spec.stage2 else None).eval()
    settings = PhantomSettings(2, 1024, seed=12, bits=16)
    images = [phantom(settings, index).image[None] for index in range(settings.count)]
    with torch.inference_mode():
        masks = [
            cascade(torch.from_numpy(image.astype(np.float32))).mask.numpy() for image in images
        ]
    return Reference(cascade, images, masks)


@pytest.mark.parametrize(("variant", "mode"), MATRIX)
def test_masks_are_pytorchs_inside_the_bounds(variant: tuple[str, str], mode: str) -> None:
    known, total = reference(mode), Disagreement()
    networks = [n for n in (known.cascade.stage1, known.cascade.stage2) if n is not None]
    calibration = [feed(image) for image in known.images[:1]]
    with loaded(known.cascade.spec, networks, variant, calibration) as engine:
        for number, image in enumerate(known.images):
            found = engine.run({"image": feed(image)}, ("mask",))["mask"]
            total.add(compare_masks(str(number), found[0], known.masks[number][0], False, None))
    assert sum(pair.union for pair in total.pairs) > 0
    assert total.value <= BOUNDS[variant[1]][0]
