"""Traps that other exporters fell into: a finished graph is searched for them before it ships.

Each rule names where it was met. ``lint`` returns every finding; an exported bundle has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foveate.export.onnx_graph.network_operators import NEAREST
from foveate.export.onnx_graph.networks import network_nodes
from foveate.export.onnx_graph.writer import OPSET

FORBIDDEN = {
    "GridSample": "TensorRT reads it as nearest at opset 20 and wrongly in fp16 "
    "(NVIDIA/TensorRT#4646, pytorch/TensorRT#4074); use the matrix products",
    "InstanceNormalization": "black masks in fp16 (MIC-DKFZ/nnUNet#3026); use BatchNorm, folded",
    "BatchNormalization": "fold it into the convolution before export",
    "NonZero": "a data-dependent shape breaks CUDA graphs",
    "Unique": "a data-dependent shape breaks CUDA graphs",
    "Compress": "a data-dependent shape breaks CUDA graphs",
    "Loop": "control flow breaks CUDA graphs",
    "If": "control flow breaks CUDA graphs",
    "NonMaxSuppression": "a data-dependent shape breaks CUDA graphs",
    "Resize": "engines differ in its modes; use the matrix products",
}
IMPORTED = {"InstanceNormalization", "BatchNormalization", "Resize"}
"""What imported networks may have: in float32 also where the graph is fp16."""
RESIZES = {
    ("nearest", "asymmetric"), ("nearest", "half_pixel"), ("linear", "asymmetric"),
    ("linear", "half_pixel"), ("linear", "pytorch_half_pixel"), ("linear", "align_corners"),
}  # fmt: skip
"""Modes of Resize, with their coordinates, in which ONNX Runtime and OpenVINO agree."""
NARROW = (TensorProto.BOOL, TensorProto.UINT8)
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
CARRIERS = {"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice"}
"""Operators that move values and compute nothing: labels travel as float16 through them."""


def lint(model: onnx.ModelProto, imported: bool = False) -> list[str]:
    """Return what is wrong with a graph, one line a finding; an empty list is a clean graph.

    ``imported`` networks may have more operators than our own.
    Element types are looked at only where the operators themselves are sound: they are inferred.
    """
    findings = [*_files(model), *_operators(model, IMPORTED if imported else set())]
    return findings or [*_element_types(model), *_quantised(model)]


def _files(model: onnx.ModelProto) -> Iterator[str]:
    versions = {item.domain: item.version for item in model.opset_import}
    if versions != {"": OPSET}:
        yield f"operator sets {versions}; expected the standard set {OPSET} alone"
    for tensor in model.graph.initializer:
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            yield f"{tensor.name} is kept outside the file"


def _operators(model: onnx.ModelProto, allowed: Collection[str]) -> Iterator[str]:
    axes = {item.name for item in model.graph.initializer if item.dims}
    for node in model.graph.node:
        if node.op_type == "Resize" and allowed:
            yield from _resize(node)
        elif (
            node.op_type in FORBIDDEN and node.op_type not in allowed and not _repeats_pixels(node)
        ):
            yield f"{node.op_type} ({node.name}): {FORBIDDEN[node.op_type]}"
        # ONNX Runtime takes bounds of shape (1,) for scalars
        if node.op_type == "Range" and axes & set(node.input):
            yield f"Range ({node.name}) with a bound that has an axis: TensorRT-RTX rejects it"


def _repeats_pixels(node: NodeProto) -> bool:
    """Say whether a node is the one form of Resize that engines agree on."""
    form = {item.name: item.s.decode() for item in node.attribute}
    return node.op_type == "Resize" and form == NEAREST


def _resize(node: NodeProto) -> Iterator[str]:
    """Yield what is wrong with a Resize of an imported network."""
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    mode = found.get("mode", b"nearest").decode()
    place = found.get("coordinate_transformation_mode", b"half_pixel").decode()
    if (mode, place) not in RESIZES or found.get("antialias"):
        plain = "" if not found.get("antialias") else ", antialias"
        yield f"Resize ({node.name}) of {mode}, {place}{plain}: engines differ in it"


def _types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {item.name: item.data_type for item in inferred.initializer}
    for value in [*inferred.value_info, *inferred.input, *inferred.output]:
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _element_types(model: onnx.ModelProto) -> Iterator[str]:
    types, inside = _types(model), {node.output[0] for node in network_nodes(model)}
    for node in model.graph.node:
        kind, name = node.op_type, node.name
        if kind == "ReduceMax" and types.get(node.input[0]) in NARROW:
            yield f"ReduceMax ({name}) on bool or uint8: TensorRT-RTX rejects it; cast first"
        if kind == "Where" and types.get(node.output[0]) in NARROW:
            yield f"Where ({name}) of uint8: TensorRT-RTX rejects it; cast first"
        if kind == "Cast":  # TensorRT's headers of 10.3 and 11.1: kUINT8 goes with floats alone
            kinds = types.get(node.input[0], 0), helper.get_node_attr_value(node, "to")
            if TensorProto.UINT8 in kinds and not any(kind in FLOATS for kind in kinds):
                names = " to ".join(TensorProto.DataType.Name(kind).lower() for kind in kinds)
                yield f"Cast ({name}) of {names}: TensorRT has none; cast to float16 in between"
        half = any(types.get(item) == TensorProto.FLOAT16 for item in [*node.input, *node.output])
        if half and kind not in CARRIERS and node.output[0] not in inside:
            yield f"{kind} ({name}) computes in float16; geometry stays float32"
        # OpenVINO 2026.4 loses the zero point of a signed Concat in front of a convolution
        if kind == "QuantizeLinear" and types.get(node.input[-1]) != TensorProto.UINT8:
            yield f"QuantizeLinear ({name}) is signed: OpenVINO computes its Concat wrongly"


def _quantised(model: onnx.ModelProto) -> Iterator[str]:
    stored = {item.name: item for item in model.graph.initializer}
    inside = {node.output[0] for node in network_nodes(model)}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        # a weight with a zero point costs a second product in every engine
        names = node.input
        weight = node.op_type == "DequantizeLinear" and names[0] in stored and len(names) > 2
        if weight and numpy_helper.to_array(stored[names[2]]).any():
            yield f"DequantizeLinear ({node.name}) of a weight with a zero point"
        if node.output[0] not in inside:
            yield f"{node.op_type} ({node.name}) outside the networks; geometry stays float32"
