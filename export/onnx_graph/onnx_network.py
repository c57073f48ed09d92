"""A network that is an ONNX graph already: it runs in ONNX Runtime, and its nodes are copied."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from foveate.export.onnx_graph.writer import GraphWriter, Value
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine

HALF_MOST = 65504


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
