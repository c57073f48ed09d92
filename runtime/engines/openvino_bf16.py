"""The two networks of a graph in bfloat16, everything around them in float32.

OpenVINO's own hint for bfloat16 lowers the geometry too, and the masks suffer. So the types are
written into the graph: a conversion in front of each network and one behind it, as in the fp16
graph; the plugin is told to keep to the types it finds. Weights are rounded here, to the nearest:
OpenVINO cuts a constant's digits off, and the masks then differ three times as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.engines.openvino_import import openvino

STAGES = ("stage1", "stage2")


def lower_networks(model: Any) -> int:
    """Lower every network of a model read from a fused graph; return how many there were."""
    tensors = {
        name: output
        for node in model.get_ordered_ops()
        for output in node.outputs()
        for name in output.get_names()
    }
    ends = [(tensors.get(f"{stage}_input"), tensors.get(f"{stage}_logits")) for stage in STAGES]
    found = [(first, last) for first, last in ends if first is not None and last is not None]
    for first, last in found:
        _lower(first, last)
    model.validate_nodes_and_infer_types()
    return len(found)


def nearest_bfloat16(values: Array) -> Array:
    """Return float32 values, each the nearest one that bfloat16 has; of two the even one."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32).reshape(values.shape)


def _lower(first: Any, last: Any) -> None:
    """Convert what enters the nodes from tensor ``first`` to ``last``, and ``last`` back."""
    readers = last.get_target_inputs()
    source = first.get_node().get_friendly_name()
    for node in _nodes_behind(last, source):
        for entry in node.inputs():
            output = entry.get_source_output()
            origin = output.get_node()
            if output.get_element_type() != openvino.Type.f32:
                continue
            if origin.get_type_name() == "Constant":
                output = openvino.opset13.constant(nearest_bfloat16(origin.data)).output(0)
            elif origin.get_friendly_name() != source:
                continue
            entry.replace_source_output(openvino.opset13.convert(output, "bf16").output(0))
    back = openvino.opset13.convert(last, "f32").output(0)
    for reader in readers:
        reader.replace_source_output(back)


def _nodes_behind(last: Any, source: str) -> list[Any]:
    """Return the nodes that compute a tensor from the node named ``source``, that one left out."""
    found: dict[str, Any] = {}
    waiting = [last.get_node()]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name != source and name not in found:
            found[name] = node
            waiting += [entry.get_source_output().get_node() for entry in node.inputs()]
    return list(found.values())
