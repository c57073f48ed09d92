"""The networks of the graph: PyTorch's operators, written as ONNX in float32 or float16.

``torch.export`` lists the operators of a network, whatever its modules are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper
from torch import Tensor, fx, nn

from foveate.export.onnx_graph.merging import merge_joins
from foveate.export.onnx_graph.network_operators import (
    SAME,
    HalfOperators,
    Int8Operators,
    NetworkOperators,
    Weight,
)
from foveate.export.onnx_graph.onnx_network import OnnxNetwork, copy_graph, half_graph
from foveate.export.onnx_graph.writer import GraphWriter, Value
from foveate.train.networks.base import Network

STAGES = ("stage1", "stage2")
OPERATORS = {"fp32": NetworkOperators, "fp16": HalfOperators, "int8": Int8Operators}


def write_stage(w: GraphWriter, network: nn.Module, stage: str, precision: str) -> Value:
    """Write a folded network from ``STAGE_input`` to ``STAGE_logits``, both float32; return these.

    In fp16 all between two casts is float16, weights included. For int8 the network is still
    float32, but without transposed convolutions: ``export.int8.quantise`` quantises it.
    Weights are named as in PyTorch, after the stage and a dot. TypeError for an operator that
    cannot be exported, BatchNorm among them.
    """
    x = Value(w, f"{stage}_input")
    if precision == "fp16":
        x = x.op("Cast", to=TensorProto.FLOAT16)
    if isinstance(network, OnnxNetwork):
        prefix = f"{stage}."
        model = half_graph(network.model) if precision == "fp16" else network.model
    else:
        prefix = stage  # that of all names already
        model = network_model(network, stage, OPERATORS[precision])
    if precision == "fp32":
        model = merge_joins(model)
    x = copy_graph(w, model, x, prefix)
    logits = f"{stage}_logits"
    return x.to_float(logits) if precision == "fp16" else x.op("Identity", name=logits)


def network_model(
    network: nn.Module, stage: str, kind: type[NetworkOperators] = NetworkOperators
) -> onnx.ModelProto:
    """Return a folded network as ONNX, operator by operator as in PyTorch.

    All names begin with ``stage``.
    """
    if isinstance(network, Network):
        example = network.example()
    elif isinstance(network, nn.Conv2d):
        example = torch.zeros(1, network.in_channels, 8, 8)
    else:
        raise TypeError(f"cannot export a {type(network).__name__}")
    w = GraphWriter(f"{stage}_")
    operators = kind(w)
    with torch.no_grad():
        program = torch.export.export(network, (example,), strict=False)
    names = program.graph_signature.inputs_to_parameters
    values: dict[fx.Node, Any] = {}
    needed = _needed(program.graph)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            tensor = program.state_dict[names[node.name]]
            values[node] = Weight(f"{stage}.{names[node.name]}", _values(tensor))
        elif node.op == "placeholder":
            values[node] = Value(w, f"{stage}_in")
        elif node in needed:
            values[node] = _write_operator(node, operators, values)
    (logits,) = program.graph.output_node().args[0]
    values[logits].op("Identity", name=f"{stage}_out")
    element = helper.np_dtype_to_tensor_dtype(operators.dtype)
    given = helper.make_tensor_value_info(f"{stage}_in", element, ["N", example.shape[1], "h", "w"])
    made = helper.make_tensor_value_info(f"{stage}_out", element, None)
    return w.model(stage, [given], [made])


def _values(tensor: Tensor) -> Any:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """Return the nodes that the output depends on: encoders compute features that go unused."""
    waiting, found = list(graph.output_node().all_input_nodes), set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _write_operator(node: fx.Node, operators: NetworkOperators, values: Mapping[Any, Any]) -> Value:
    kind = str(node.target).removeprefix("aten.").split(".")[0].removesuffix("_")
    if kind == "upsample_nearest2d":
        return operators.repeat_pixels(values[node.args[0]], _factor(node))
    arguments: Any = fx.node.map_arg((node.args, node.kwargs), lambda argument: values[argument])
    if kind in SAME:
        first, *others = arguments[0]
        same: Value = first.op(SAME[kind], *others)
        return same
    write = getattr(operators, kind, None)
    if write is None:
        raise TypeError(f"cannot export {node.target}; fold the network first, or add it")
    written: Value = write(*arguments[0], **arguments[1])
    return written


def _factor(node: fx.Node) -> int:
    """Return the whole factor of an upsampling."""
    source: Any = node.args[0]
    sides = zip(node.meta["val"].shape[2:], source.meta["val"].shape[2:], strict=True)
    (factor,) = {large / small for large, small in sides}
    if factor != int(factor):
        raise TypeError(f"cannot export an upsampling by {factor}; expected a whole number")
    return int(factor)


def network_nodes(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the nodes between stageN_input and stageN_logits, in the order of the graph."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for stage in STAGES:
        waiting = [f"{stage}_logits"]
        while waiting:
            name = waiting.pop()
            if name in makers and name != f"{stage}_input" and name not in found:
                found.add(name)
                waiting += makers[name].input
    return [node for node in model.graph.node if found.intersection(node.output)]
