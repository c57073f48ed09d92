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


def _graph(
    nodes: list[NodeProto], inputs: dict[str, Sides], outputs: dict[str, Sides], **values: object
) -> bytes:
    def shaped(tensors: dict[str, Sides]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
            for name, sides in tensors.items()
        ]

    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()
    ]
    graph = helper.make_graph(nodes, "g", shaped(inputs), shaped(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
