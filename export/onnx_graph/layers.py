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

    A block is one or a few convolutions, named as in PyTorch; what follows a
    convolution belongs to it, but from a MaxPool or Concat on to the convolution behind.
    """
    found: dict[str, str] = {}
    waiting: list[str] = []
    block = ""
    for node in nodes_of_networks(model):
        if node.op_type == "Conv":
            block = _block(node)
            found |= dict.fromkeys([*waiting, node.output[0]], block)
            waiting = []
        elif waiting or node.op_type in ("MaxPool", "Concat"):
            waiting.append(node.output[0])
        elif node.op_type not in ("Identity", "Cast"):
            found[node.output[0]] = block
    return found


def _block(node: NodeProto) -> str:
    """Return the block of a convolution: its name without its number in the block."""
    parts = node.input[1].removesuffix(".weight").split(".")
    return ".".join(parts[: max(3, len(parts) - 1)])
