"""Which part of a fused graph each of its nodes belongs to: a network, or the geometry."""

from __future__ import annotations

import onnx

GEOMETRY = "geometry"
NETWORKS = ("stage 1 network", "stage 2 network")
"""The nodes between ``stage1_input`` and ``stage1_logits``, and the same of stage 2."""


def node_parts(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the part of every node, by the name of its first output."""
    makers = {name: node for node in graph.node for name in node.output}
    parts = {node.output[0]: GEOMETRY for node in graph.node}
    for number, part in enumerate(NETWORKS, 1):
        for node in _between(makers, f"stage{number}_input", f"stage{number}_logits"):
            parts[node.output[0]] = part
    return parts


def _between(makers: dict[str, onnx.NodeProto], start: str, stop: str) -> list[onnx.NodeProto]:
    """Return the nodes that lead from tensor ``start`` to tensor ``stop``; none without them."""
    found: dict[str, onnx.NodeProto] = {}
    waiting = [stop]
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if name == start or node is None or node.output[0] in found:
            continue
        found[node.output[0]] = node
        waiting += node.input
    return list(found.values())
