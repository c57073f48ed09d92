"""Put a network into a stage: channels, layout, normalisation and logits around its own nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from foveate.export.importing.interface import Interface
from foveate.export.importing.network_file import NetworkFile, prepared
from foveate.export.onnx_graph.lint import lint
from foveate.export.onnx_graph.onnx_network import OnnxNetwork, copy_graph
from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.arrays import Array
from foveate.runtime.bundle.graph_safety import graph_problem
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.errors import BundleError
from foveate.runtime.spec import IMAGENET_MEAN, IMAGENET_STD, Size

IMAGENET = IMAGENET_MEAN, IMAGENET_STD
LEAST = 1e-30
"""Smallest probability whose logarithm is taken."""
Run = Callable[[Array], Array]
"""What a network makes of (N, C, h, w) or (N, h, w, C) float32, in its own layout."""


@dataclass(frozen=True)
class StagePlan:
    """How a network is put into a stage.

    ``imagenet``: pixels from 0 to 1 are normalised by ImageNet's constants here. ``hint``: the
    network's last channel is stage 1's probability. ``stage2``: the stage's input has that
    probability anyway.
    """

    interface: Interface
    imagenet: bool
    hint: bool
    stage2: bool


class ImportedNetwork(OnnxNetwork):
    """The network as it was, run by its own runtime: what the graph of the stage is compared with.

    What is around it is written here once more, in PyTorch.
    """

    def __init__(self, model: onnx.ModelProto, plan: StagePlan, run: Run, runtime: str) -> None:
        super().__init__(model)
        self.plan, self.original, self.runtime = plan, run, runtime

    def folded(self) -> OnnxNetwork:
        return OnnxNetwork(self.model)

    def forward(self, x: Tensor) -> Tensor:
        face = self.plan.interface
        image, hint = x[:, : face.image], x[:, face.image :] if self.plan.hint else x[:, :0]
        colours = face.channels - hint.shape[1]
        image = image.expand(-1, colours, -1, -1)
        if self.plan.imagenet:
            mean, std = (torch.tensor(part)[:, None, None] for part in IMAGENET)
            image = (image - mean) / std
        given = torch.cat([image, hint], dim=1)
        if face.channels_last:
            given = given.permute(0, 2, 3, 1)
        each = [self.original(np.ascontiguousarray(one[None].numpy())) for one in given]
        maps = torch.from_numpy(np.concatenate(each))
        if face.maps_last:
            maps = maps.permute(0, 3, 1, 2)
        if face.activation == "sigmoid":
            return maps.clamp(min=LEAST).log() - (1 - maps).clamp(min=LEAST).log()
        if face.activation == "softmax":
            maps = maps.clamp(min=LEAST).log()
        return maps[:, 1:] - maps[:, :1] if face.maps == 2 else maps


def stage_network(
    file: NetworkFile, plan: StagePlan, run: Run, runtime: str, size: Size | None
) -> ImportedNetwork:
    """Return the network of a stage: its graph of opset 18, and the original to compare it with.

    ``run`` is the original, by ``runtime``. ``size`` is the stage's, None for the image's own.
    BundleError for operators that no cascade may have.
    """
    face = plan.interface
    high, wide = ("H", "W") if size is None else (size.height, size.width)
    sides: list[int | str] = ["N", face.channels, high, wide]
    if face.channels_last:
        sides = ["N", high, wide, face.channels]
    model = prepared(file, sides, face.cut or face.output)
    w = GraphWriter()
    given = _given(w, plan)
    maps = copy_graph(w, model, given, "network.")
    if face.maps_last:
        maps = maps.transpose(0, 3, 1, 2)
    if face.activation != "none" and not face.cut:
        positive = maps.maximum(LEAST).op("Log")
        rest = (1.0 - maps).maximum(LEAST).op("Log")
        maps = positive - rest if face.activation == "sigmoid" else positive
    if face.maps == 2:  # softmax of two is the sigmoid of their difference
        maps = maps.slice(1, 2, 1) - maps.slice(0, 1, 1)
    maps.op("Identity", name="logits")
    channels = face.image + plan.stage2
    made = w.model(
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, high, wide])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    problems = [*filter(None, [graph_problem(made.SerializeToString())]), *lint(made, True)]
    if problems:
        raise BundleError(f"{file.name}: {'; '.join(problems[:3])}")
    return ImportedNetwork(made, plan, run, runtime)


def _given(w: GraphWriter, plan: StagePlan) -> Value:
    """Write what the network takes from the stage's image, and hint."""
    face, x = plan.interface, Value(w, "input")
    image = x.slice(0, face.image, 1) if plan.stage2 else x
    if plan.imagenet:
        mean, std = (np.array(part, np.float32).reshape(1, 3, 1, 1) for part in IMAGENET)
        image = (image - w.array(mean)) * w.array(np.float32(1) / std)
    elif face.image == 1 and face.channels - plan.hint == 3:
        image = concat(image, image, image, axis=1)
    if plan.hint:
        image = concat(image, x.slice(face.image, face.image + 1, 1), axis=1)
    return image.transpose(0, 2, 3, 1) if face.channels_last else image


def onnx_run(model: onnx.ModelProto, face: Interface) -> Run:
    """Return an ONNX model as a function of arrays, by ONNX Runtime."""
    engine = OnnxRuntimeEngine(model.SerializeToString())
    return lambda values: engine.run({face.input: values}, (face.output,))[face.output]


def widest(model: onnx.ModelProto, size: Size) -> int:
    """Return half the channels of a network's largest tensor, if it were as large as its input.

    That is what ``Bundle.width`` says of our own networks.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    shape = fixed.graph.input[0].type.tensor_type.shape
    for side, value in ((0, 1), (2, size.height), (3, size.width)):
        shape.dim[side].dim_value = value
    largest = 0
    for item in onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.value_info:
        sides = [side.dim_value for side in item.type.tensor_type.shape.dim]
        largest = max(largest, math.prod(sides))
    return max(1, math.ceil(largest / (2 * size.height * size.width)))
