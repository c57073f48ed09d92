"""Doublings and joins merged into the convolutions behind: the same sums, less work."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveate.benchmarks.measure.roofline import multiply_adds, operator_costs
from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.onnx_graph.merging import merge_joins
from foveate.export.onnx_graph.networks import network_model
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.train.networks.base import Network
from foveate.train.networks.encoders import EncoderUNet
from foveate.train.settings.network_choice import NetworkChoice
from tests.drawing import random_network, small_spec


class Decoder(Network):
    """Doubles its input and convolves it, alone or next to what was not doubled."""

    def __init__(self, joined: int, factor: int = 2, **convolution: int) -> None:
        super().__init__(3, 1)
        self.joined, self.factor = joined, factor
        channels = 3 + 2 * joined
        options = {"padding": 1} | convolution
        self.convolution = nn.Conv2d(channels, 4, 3, **options)  # type: ignore[arg-type]
        self.skip = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        large = functional.interpolate(x, scale_factor=self.factor, mode="nearest")
        skips = [self.skip(large), self.skip(large.flip(3))][: self.joined]
        parts = [large, *skips] if self.joined < 2 else [skips[0], large, skips[1]]
        found: Tensor = self.convolution(torch.cat(parts, dim=1) if skips else large)
        return found


def outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        return engine.run({"stage1_in": x}, ("stage1_out",))["stage1_out"]


@pytest.mark.parametrize("joined", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(5, 8), (1, 1), (2, 7)])
def test_the_sums_stay_the_same(joined: int, height: int, width: int) -> None:
    torch.manual_seed(joined)
    network = Decoder(joined).eval()
    plain = network_model(network, "stage1")
    merged = merge_joins(plain)
    x = torch.randn(2, 3, height, width)
    expected = network(x).detach().numpy()
    assert np.abs(outputs(plain, x.numpy()) - expected).max() < 1e-5
    assert np.abs(outputs(merged, x.numpy()) - expected).max() < 1e-5
    sides = [
        list(node.attribute[0].ints)
        for node in merged.graph.node
        if node.op_type == "Conv" and node.attribute[0].name == "kernel_shape"
    ]
    assert [2, 2] in sides
    weights = {item.name: list(item.dims) for item in merged.graph.initializer}
    assert weights["stage1.convolution.weight"] == [4, 3 + 2 * joined, 3, 3]


def test_a_convolution_of_two_joined_tensors_is_a_sum_of_two() -> None:
    plain = network_model(folded(random_network(1, 1, 0)), "stage1")
    merged = merge_joins(plain)
    kinds = [Counter(node.op_type for node in model.graph.node) for model in (plain, merged)]
    assert (kinds[0]["Concat"], kinds[1]["Concat"]) == (2, 0)
    assert kinds[1]["Conv"] == kinds[0]["Conv"] + 2
    x = np.random.default_rng(0).standard_normal((1, 1, 16, 24), np.float32)
    assert np.abs(outputs(plain, x) - outputs(merged, x)).max() < 1e-5


class SideBySide(Network):
    """Doubles its input and puts it next to its mirror image."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        large = functional.interpolate(x, scale_factor=2, mode="nearest")
        found: Tensor = self.convolution(torch.cat([large, large.flip(3)], dim=3))
        return found


@pytest.mark.parametrize(
    "network",
    [
        SideBySide(),
        Decoder(0, factor=3),
        Decoder(0, padding=0),
        Decoder(1, stride=2),
        Decoder(0, dilation=2),
    ],
    ids=["side by side", "tripled", "not padded", "strided", "dilated"],
)
def test_what_cannot_be_merged_is_left_alone(network: Network) -> None:
    plain = network_model(network.eval(), "stage1")
    assert merge_joins(plain) is plain


def test_a_decoder_takes_fewer_multiplications_and_its_weights_are_not_counted() -> None:
    network = EncoderUNet(NetworkChoice("resnet18", 32, 3), 1, 1).eval()
    spec = small_spec(single=True)
    merged, plain = (
        cascade_model(spec, folded(network), None, precision).SerializeToString()
        for precision in ("fp32", "int8")
    )
    counts = [multiply_adds(graph, 1, 50, 60)["stage 1 network"] for graph in (merged, plain)]
    assert counts[0] < 0.85 * counts[1]
    kinds = {cost.kind for cost in operator_costs(merged, 1, 50, 60) if "network" in cost.part}
    assert kinds == {"Conv", "MaxPool"}
