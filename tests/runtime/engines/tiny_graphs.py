"""Tiny ONNX graphs for the tests of engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Sides = Sequence[int | str]


def two_outputs() -> bytes:
    """Return a three-node graph: y = 2x + 1, z = -x."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"]),
        helper.make_node("Add", ["double", "one"], ["y"]),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    return _graph(nodes, {"x": ["N"]}, {"y": ["N"], "z": ["N"]}, two=[2.0], one=[1.0])


def twice_as_long(side: str) -> bytes:
    """Return y = x, x, declared to be ``side`` long: a name that is no input's, or a wrong one."""
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    return _graph(nodes, {"x": ["N"]}, {"y": [side]})


def one_convolution() -> bytes:
    """Return y = x convolved with one weight, over (1, 1, H, W)."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    sides = [1, 1, "H", "W"]
    return _graph(nodes, {"x": sides}, {"y": sides}, w=[[[[3.0]]]])


def int8_convolution() -> bytes:
    """Return y = 127 times the sum of 4 channels of x, in steps of 1000, computed in int8."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "one"], ["wf"]),
        helper.make_node("Conv", ["xf", "wf"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "step", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "step", "zero"], ["y"]),
    ]
    constants = {"one": 1.0, "step": 1000.0, "zero": np.uint8(0)}
    weights = np.full((1, 4, 1, 1), 127, np.int8)
    shapes = {"x": [1, 4, "H", "W"]}, {"y": [1, 1, "H", "W"]}
    return _graph(nodes, *shapes, w=weights, **constants)


def _graph(
    nodes: list[NodeProto], inputs: dict[str, Sides], outputs: dict[str, Sides], **values: object
) -> bytes:
    def shaped(tensors: dict[str, Sides]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
            for name, sides in tensors.items()
        ]

    constants = [
        numpy_helper.from_array(np.array(value, getattr(value, "dtype", np.float32)), name)
        for name, value in values.items()
    ]
    graph = helper.make_graph(nodes, "g", shaped(inputs), shaped(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
