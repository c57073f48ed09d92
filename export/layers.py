"""The nodes of a fused graph that belong to its networks, and the names of their layers."""

from __future__ import annotations

import onnx
from onnx import NodeProto

STAGES = ("stage1", "stage2")


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
    return [node for node in model.graph.node if node.output[0] in found]


def layer_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions of the networks, as in weights.safetensors."""
    return list(filter(None, map(layer_name, network_nodes(model))))


def layer_name(node: NodeProto) -> str:
    """Return the name of a convolution, such as stage1.encoder.0.3; "" for other nodes."""
    return node.input[1].removesuffix(".weight") if node.op_type == "Conv" else ""
