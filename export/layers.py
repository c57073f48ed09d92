"""The nodes of a fused graph that belong to its networks, and the blocks that they are made of."""

from __future__ import annotations

import onnx
from onnx import NodeProto

STAGES = ("stage1", "stage2")


def nodes_of_networks(model: onnx.ModelProto) -> list[NodeProto]:
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
    return [node for node in model.graph.node if node.output[0] in found]


def block_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of the blocks of the networks, in the order of the graph."""
    return list(dict.fromkeys(filter(None, blocks(model).values())))


def blocks(model: onnx.ModelProto) -> dict[str, str]:
    """Return output -> block of each node of the networks, such as stage1.encoder.0.

    A block is one or two convolutions, named as in weights.safetensors; what stands behind a
    convolution belongs to it, and so does the MaxPool or Concat in front.
    """
    inside, found = nodes_of_networks(model), {}
    for node in inside:
        name = _block(node)
        if name:
            found[node.output[0]] = name
        elif node.op_type in ("Relu", "DepthToSpace"):
            found[node.output[0]] = found[node.input[0]]
    readers = {name: _block(node) for node in inside for name in node.input[:1]}
    for node in inside:
        if node.op_type in ("MaxPool", "Concat"):
            found[node.output[0]] = readers[node.output[0]]
    return found


def _block(node: NodeProto) -> str:
    """Return the block of a convolution; "" for other nodes."""
    if node.op_type != "Conv":
        return ""
    return ".".join(node.input[1].split(".")[:3]).removesuffix(".weight")
