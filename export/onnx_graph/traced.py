"""A network as the operators it computes: ``torch.export`` lists them, whatever its modules are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from foveate.export.onnx_graph.network_operators import NetworkOperators, Weight
from foveate.train.network import Network


def write_network(network: Network, operators: NetworkOperators, x: str, prefix: str) -> str:
    """Write a folded network behind tensor ``x`` and return the tensor of its logits.

    Weights are named as in PyTorch behind ``prefix`` and a dot. TypeError for an operator that
    ``operators`` do not have, BatchNorm among them.
    """
    with torch.no_grad():
        program = torch.export.export(network, (network.example(),), strict=False)
    names = program.graph_signature.inputs_to_parameters
    values: dict[fx.Node, str | Weight] = {}
    needed = _needed(program.graph)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            tensor = program.state_dict[names[node.name]]
            numbers = np.asarray(tensor.detach().cpu().numpy(), np.float32)
            values[node] = Weight(f"{prefix}.{names[node.name]}", numbers)
        elif node.op == "placeholder":
            values[node] = x
        elif node in needed:
            values[node] = _written(node, operators, values)
    (logits,) = program.graph.output_node().args[0]
    return str(values[logits])


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """Return the operators that the answer is made of: encoders compute what nobody reads."""
    waiting, found = list(graph.output_node().all_input_nodes), set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _written(node: fx.Node, operators: NetworkOperators, values: Mapping[Any, Any]) -> str:
    kind = str(node.target).removeprefix("aten.").split(".")[0].removesuffix("_")
    if kind == "upsample_nearest2d":
        return operators.repeat_pixels(values[node.args[0]], _times(node))
    write = getattr(operators, kind, None)
    if write is None:
        raise TypeError(f"no way to export {node.target}; fold the network before, or add it")
    arguments: Any = fx.node.map_arg((node.args, node.kwargs), lambda argument: values[argument])
    written: str = write(*arguments[0], **arguments[1])
    return written


def _times(node: fx.Node) -> int:
    """Return how often an enlargement repeats each pixel."""
    before: Any = node.args[0]
    sides = zip(node.meta["val"].shape[2:], before.meta["val"].shape[2:], strict=True)
    (times,) = {large / small for large, small in sides}
    if times != int(times):
        raise TypeError(f"no way to export an enlargement by {times}; wanted a whole number")
    return int(times)
