"""A network that is an ONNX graph already: it runs in ONNX Runtime, and its nodes are copied."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, numpy_helper
from torch import Tensor, nn

from foveate.export.onnx_graph.writer import GraphWriter, Value
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine

HALF_MOST = 65504
FLOAT32_MARK = ".float32."
"""In the names of nodes that stay in float32 where a network becomes float16."""


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

    Every name gets ``prefix``, unless it has it already. InstanceNormalization is written as means:
    TensorRT-RTX 1.7.1 crashes on it without a GPU.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        item.name: len(item.type.tensor_type.shape.dim)
        for item in (*inferred.value_info, *inferred.input)
    }
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
        if node.op_type == "InstanceNormalization":
            _write_instance_norm(w, copied, ranks[node.input[0]])
        else:
            w.nodes.append(copied)
    return Value(w, renamed(model.graph.output[0].name))


def _write_instance_norm(w: GraphWriter, node: NodeProto, rank: int) -> None:
    """Write an InstanceNormalization of (N, C, ...) by its parts, the means axis after axis."""
    x, scale, shift = (Value(w, name) for name in node.input)
    epsilon = next((item.f for item in node.attribute if item.name == "epsilon"), 1e-5)
    (made,) = node.output

    def op(kind: str, *inputs: Value, **attributes: int) -> Value:
        return w.op(kind, *inputs, name=f"{made}{FLOAT32_MARK}{len(w.nodes)}", **attributes)

    def mean(values: Value) -> Value:
        for axis in range(rank - 1, 1, -1):
            values = op("ReduceMean", values, w.ints(axis), keepdims=1)
        return values

    apart = op("Sub", x, mean(x))
    deviation = op("Sqrt", op("Add", mean(op("Mul", apart, apart)), w.constant(epsilon)))
    sides = w.ints(*range(1, rank - 1))
    scaled = op("Mul", op("Div", apart, deviation), op("Unsqueeze", scale, sides))
    w.op("Add", scaled, op("Unsqueeze", shift, sides), name=made)
