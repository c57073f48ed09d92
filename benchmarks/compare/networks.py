"""Both stages of a bundle, cut out of its fused graph and as PyTorch modules."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx
import torch
from torch import nn

from foveate.export.onnx_graph.cascade import cascade_model, stage_model
from foveate.export.onnx_graph.networks import network_model
from foveate.export.reference import torch_cascade
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.spec import CascadeSpec
from foveate.train.networks.base import Network
from foveate.train.reference.cascade import TorchCascade


@dataclass(frozen=True)
class Stages:
    """A bundle's networks in every form that a peer takes.

    ``graphs`` are ONNX by stage, ``int8`` the quantised ones; none where the bundle has none.
    """

    spec: CascadeSpec
    cascade: TorchCascade
    graphs: dict[str, bytes]
    int8: dict[str, bytes]

    def shape(self, stage: str, images: int = 1) -> list[int]:
        """Return the shape of a stage's input."""
        size = self.spec.stage1 if stage == "stage1" else self.spec.stage2
        assert size is not None
        inputs = self.spec.input_channels + (stage == "stage2")
        return [images, inputs, size.height, size.width]


def open_stages(bundle: Bundle) -> Stages:
    """Return the stages of a bundle's fp32 graph and weights, and of its int8 graph.

    The ONNX of our own networks is what PyTorch's operators say; the fused graph may compute the
    same with fewer multiplications. Imported and quantised networks are cut out of it.
    """
    cascade = torch_cascade(bundle)
    fused = onnx.load_from_string(bundle.graph("fp32"))
    graphs = {
        name: network_model(network, name)
        if isinstance(network, Network)
        else stage_model(fused, name)
        for name, network in (("stage1", cascade.stage1), ("stage2", cascade.stage2))
        if network is not None
    }
    return Stages(
        bundle.spec,
        cascade,
        {name: graph.SerializeToString() for name, graph in graphs.items()},
        {name: _cut_out(bundle, "int8", name) for name in graphs if "int8" in bundle.precisions},
    )


def _cut_out(bundle: Bundle, precision: str, stage: str) -> bytes:
    """Return one stage of a bundle's fused graph: ``stage1_input`` -> ``stage1_logits``."""
    graph = stage_model(onnx.load_from_string(bundle.graph(precision)), stage)
    return bytes(graph.SerializeToString())


def single_graph(bundle: Bundle) -> bytes:
    """Return the network of a one-stage bundle."""
    return _cut_out(bundle, "fp32", "stage1")


def stage1_graph(stages: Stages) -> bytes:
    """Return stage 1 alone as a one-stage graph with the cascade's signature."""
    region = replace(stages.spec.region, mode="none")
    spec = replace(stages.spec, stage2=None, region=region)
    graph = cascade_model(spec, stages.cascade.stage1, None, "fp32")
    return bytes(graph.SerializeToString())


def geometry_graph(stages: Stages) -> bytes:
    """Return the fused graph with each network replaced by one 1x1 convolution."""
    channels = stages.spec.output_channels
    inputs = stages.spec.input_channels
    stage1, stage2 = _threshold(inputs, channels), _threshold(inputs + 1, channels)
    graph = cascade_model(stages.spec, stage1, stage2 if stages.spec.stage2 else None, "fp32")
    return bytes(graph.SerializeToString())


def _threshold(inputs: int, outputs: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, 1)
    with torch.no_grad():
        convolution.weight.fill_(4.0)
        assert convolution.bias is not None
        convolution.bias.fill_(-4.0)
    return convolution
