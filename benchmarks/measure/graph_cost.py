"""What one run of a fused graph costs on any machine: multiply-adds and bytes by operator.

Counted are convolutions, transposed convolutions, matrix products and poolings, and casts, which
change the size of every element. Each reads its inputs and weights once and writes its output
once. All other operators count nothing, as if fused into the counted ones: elementwise ones,
concatenation, sums and comparisons. Products with zero padding count as work. No engine does with
less unless it fuses the counted operators themselves, or keeps a tensor in its cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from foveate.benchmarks.measure.graph_parts import node_parts
from foveate.runtime.engines.onnxruntime import PROVIDER

COUNTED = ("Conv", "ConvTranspose", "MatMul", "MaxPool", "Cast")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorCost:
    """One operator: the part of the graph it is in, its ONNX kind, and what it costs."""

    part: str
    kind: str
    multiply_adds: int
    bytes_moved: int

    @property
    def flop(self) -> int:
        """A multiply-add is two floating-point operations."""
        return 2 * self.multiply_adds


def operator_costs(graph: bytes, count: int, height: int, width: int) -> list[OperatorCost]:
    """Return the cost of every counted operator for ``count`` images of one size.

    The graph is run once on black images, without optimisations, to learn the shape of every
    tensor. An int8 graph counts the float32 tensors that its operators see.
    """
    model = onnx.load_from_string(graph)
    nodes = [node for node in model.graph.node if node.op_type in COUNTED]
    names = {name for node in nodes for name in (*node.input, *node.output) if name}
    shapes = tensor_shapes(model, names, count, height, width)
    item_bytes = _item_bytes(model)
    parts = node_parts(model.graph)
    return [
        OperatorCost(
            parts[node.output[0]],
            node.op_type,
            _multiply_adds(node, shapes),
            sum(
                math.prod(shapes[name]) * item_bytes[name]
                for name in (*node.input, *node.output)
                if name
            ),
        )
        for node in nodes
    ]


def multiply_adds(graph: bytes, count: int, height: int, width: int) -> dict[str, int]:
    """Return the multiply-adds of each part of a graph for ``count`` images of one size."""
    totals: dict[str, int] = {}
    for cost in operator_costs(graph, count, height, width):
        totals[cost.part] = totals.get(cost.part, 0) + cost.multiply_adds
    return totals


def _multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Return the products of one operator; those with padding are among them."""
    if node.op_type == "Conv":  # weights (out, in / groups, *kernel)
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, *kernel)
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 0


def tensor_shapes(
    model: onnx.ModelProto, names: Iterable[str], count: int, height: int, width: int
) -> dict[str, Shape]:
    """Return the shape of each named tensor when the graph runs on images of one size."""
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    asked = sorted(set(names) - set(shapes))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, name in enumerate(asked):
        shape = f"shape_probe_{number}"
        probe.graph.node.append(helper.make_node("Shape", [name], [shape]))
        probe.graph.output.append(helper.make_tensor_value_info(shape, TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=[PROVIDER])
    image = session.get_inputs()[0]
    black = np.zeros((count, height, width, *image.shape[3:]), np.uint8)
    found = session.run(None, {image.name: black})
    return shapes | {name: tuple(shape.tolist()) for name, shape in zip(asked, found, strict=True)}


def _item_bytes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the bytes of one element of each tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    return {name: helper.tensor_dtype_to_np_dtype(kind).itemsize for name, kind in kinds.items()}
