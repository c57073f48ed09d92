"""A network that is an ONNX graph: run by ONNX Runtime, copied into a cascade, in float16."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from foveate.export.onnx_graph.writer import GraphWriter, Value
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.errors import BundleError

HALF_MOST = 65504
FLOAT32 = {
    "InstanceNormalization", "LayerNormalization", "LpNormalization", "ReduceMean", "ReduceSum",
    "ReduceL2", "ReduceSumSquare", "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt",
    "Reciprocal", "Erf", "Resize", "CumSum",
}  # fmt: skip
"""Operators that stay in float32: sums of many values, large powers, and Resize's scales."""


class OnnxNetwork(nn.Module):
    """(N, inputs, h, w) -> (N, outputs, h, w) logits, float32, by an ONNX graph of opset 18.

    The graph has one input and one output. It is never trained.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model

    @cached_property
    def _engine(self) -> OnnxRuntimeEngine:
        return OnnxRuntimeEngine(self.model.SerializeToString())

    def forward(self, x: Tensor) -> Tensor:
        (given,), (made,) = self.model.graph.input, self.model.graph.output
        feeds = {given.name: np.ascontiguousarray(x.numpy(), np.float32)}
        return torch.from_numpy(self._engine.run(feeds, (made.name,))[made.name])

    def folded(self) -> OnnxNetwork:
        """Return the network as it goes into the cascade's graph."""
        return self

    def rounded(self) -> OnnxNetwork:
        """Return the network with its weights rounded to float16 and kept as float32."""
        model = copy.deepcopy(self.model)
        for tensor in model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(tensor).clip(-HALF_MOST, HALF_MOST)
                half = values.astype(np.float16).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
        return OnnxNetwork(model)


def copy_graph(w: GraphWriter, model: onnx.ModelProto, x: Value, prefix: str) -> Value:
    """Copy the nodes and weights of a graph, its input being ``x``; return its output.

    Every name gets ``prefix``, unless it has it already.
    """
    names = {"": "", model.graph.input[0].name: x.name}

    def renamed(name: str) -> str:
        return names.setdefault(name, name if name.startswith(prefix) else f"{prefix}{name}")

    for tensor in model.graph.initializer:
        w.array(numpy_helper.to_array(tensor), renamed(tensor.name))
    for node in model.graph.node:
        copied = copy.deepcopy(node)
        copied.input[:] = [renamed(name) for name in node.input]
        copied.output[:] = [renamed(name) for name in node.output]
        copied.name = copied.output[0]
        w.nodes.append(copied)
    return Value(w, renamed(model.graph.output[0].name))


def half_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph in float16, input and output too; BundleError for too large a weight.

    Between two casts the operators of ``FLOAT32`` compute in float32.
    """
    model = copy.deepcopy(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        item.name
        for item in [*inferred.value_info, *inferred.input, *inferred.output]
        if item.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    weights = {
        item.name: item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT
    }
    stored = {item.name for item in model.graph.initializer} | {""}
    nodes: list[NodeProto] = []
    wide: set[str] = set()
    sides: set[str] = set()  # what is computed from shapes alone: float16 is exact up to 2048
    for node in model.graph.node:
        of_sides = node.op_type != "ConstantOfShape" and sides.issuperset({*node.input} - stored)
        if node.op_type == "Shape" or (of_sides and sides.intersection(node.input)):
            sides.update(node.output)
            wide |= weights.keys() & set(node.input)
            nodes.append(node)
            continue
        if node.op_type in FLOAT32:
            wide |= weights.keys() & set(node.input)
            nodes += _in_float32(node, floats - sides)
            continue
        for attribute in node.attribute:
            if (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT):
                attribute.i = TensorProto.FLOAT16
            if attribute.type == onnx.AttributeProto.TENSOR:  # ConstantOfShape
                _narrow(attribute.t)
        node.input[:] = [f"{name}.half" if name in weights else name for name in node.input]
        nodes.append(node)
    kept = [item for item in model.graph.initializer if item.name not in weights]
    for name, tensor in weights.items():
        if name in wide:
            kept.append(tensor)
        narrow = TensorProto()
        narrow.CopyFrom(tensor)
        narrow.name = f"{name}.half"
        _narrow(narrow)
        kept.append(narrow)
    used = {name for node in nodes for name in node.input}
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(item for item in kept if item.name in used)
    for item in [*model.graph.input, *model.graph.output]:
        item.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def _in_float32(node: NodeProto, floats: set[str]) -> list[NodeProto]:
    """Return a node with a cast before each input and after each output that is a float."""
    before, after = [], []
    for index, name in enumerate(node.input):
        if name in floats:
            wide = f"{node.output[0]}.{index}.wide"
            before.append(_cast(name, wide, TensorProto.FLOAT))
            node.input[index] = wide
    for index, name in enumerate(node.output):
        if name in floats:
            node.output[index] = f"{name}.wide"
            after.append(_cast(f"{name}.wide", name, TensorProto.FLOAT16))
    return [*before, node, *after]


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=kind)


def _narrow(tensor: TensorProto) -> None:
    """Store a float32 tensor as float16; bounds that are as good as infinite become its largest."""
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    most = np.abs(values).max(initial=0)
    if HALF_MOST < most < 1e30:
        raise BundleError(
            f"the weight {tensor.name} has values up to {most:g}, which float16 cannot hold; "
            "leave fp16 out of --precision"
        )
    half = values.clip(-HALF_MOST, HALF_MOST).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
