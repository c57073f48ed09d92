"""Traps that other exporters fell into: a finished graph is searched for them before it ships.

Each rule names where it was met. ``lint`` returns every finding; an exported bundle has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foveate.export.onnx_graph.network_operators import NEAREST
from foveate.export.onnx_graph.networks import network_nodes

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
NARROW = (TensorProto.BOOL, TensorProto.UINT8)
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
QUANTISING = {"QuantizeLinear", "DequantizeLinear"}
CARRIERS = {"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice"}
"""Operators that move values and compute nothing: labels travel as float16 through them."""
OPSET = 18


def lint(model: onnx.ModelProto) -> list[str]:
    """Return what is wrong with a graph, one line a finding; an empty list is a clean graph.

    Element types are looked at only where the operators themselves are sound: they are inferred.
    """
    findings = [*_imports(model), *_external_data(model), *_forbidden(model), *_ranges(model)]
    if findings:
        return findings
    types = _element_types(model)
    return [
        *_narrow_types(model, types),
        *_byte_casts(model, types),
        *_half_geometry(model, types),
        *_signed_values(model, types),
        *_weight_zero_points(model),
        *_quantised_geometry(model),
    ]


def _forbidden(model: onnx.ModelProto) -> Iterator[str]:
    for node in model.graph.node:
        if node.op_type in FORBIDDEN and not _repeats_pixels(node):
            yield f"{node.op_type} ({node.name}): {FORBIDDEN[node.op_type]}"


def _repeats_pixels(node: NodeProto) -> bool:
    """Say whether a node is the one form of Resize that engines agree on."""
    form = {item.name: item.s.decode() for item in node.attribute}
    return node.op_type == "Resize" and form == NEAREST


def _ranges(model: onnx.ModelProto) -> Iterator[str]:
    """ONNX Runtime takes bounds of shape (1,) for scalars, TensorRT-RTX does not."""
    axes = {item.name for item in model.graph.initializer if item.dims}
    for node in model.graph.node:
        if node.op_type == "Range" and axes & set(node.input):
            yield f"Range ({node.name}) with a bound that has an axis: TensorRT-RTX rejects it"


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {item.name: item.data_type for item in inferred.initializer}
    for value in [*inferred.value_info, *inferred.input, *inferred.output]:
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _imports(model: onnx.ModelProto) -> Iterator[str]:
    versions = {item.domain: item.version for item in model.opset_import}
    if versions != {"": OPSET}:
        yield f"operator sets {versions}; expected the standard set {OPSET} alone"


def _external_data(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in model.graph.initializer:
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            yield f"{tensor.name} is kept outside the file"


def _narrow_types(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[str]:
    """TensorRT-RTX rejects ReduceMax and Where on bool and uint8."""
    for node in model.graph.node:
        if node.op_type == "ReduceMax" and types.get(node.input[0]) in NARROW:
            yield f"ReduceMax ({node.name}) on bool or uint8: TensorRT-RTX rejects it; cast first"
        if node.op_type == "Where" and types.get(node.output[0]) in NARROW:
            yield f"Where ({node.name}) of uint8: TensorRT-RTX rejects it; cast first"


def _byte_casts(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[str]:
    """TensorRT's headers of 10.3 and 11.1: kUINT8 conversions are only supported for floats."""
    for node in model.graph.node:
        if node.op_type != "Cast":
            continue
        kinds = types.get(node.input[0], 0), helper.get_node_attr_value(node, "to")
        if TensorProto.UINT8 in kinds and not any(kind in FLOATS for kind in kinds):
            names = " to ".join(TensorProto.DataType.Name(kind).lower() for kind in kinds)
            yield f"Cast ({node.name}) of {names}: TensorRT has none; cast to float16 in between"


def _half_geometry(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[str]:
    """Geometry stays float32: float16 is for what lies inside the networks."""
    inside = {node.output[0] for node in network_nodes(model)}
    for node in model.graph.node:
        half = any(types.get(name) == TensorProto.FLOAT16 for name in [*node.input, *node.output])
        if half and node.op_type not in CARRIERS and node.output[0] not in inside:
            yield f"{node.op_type} ({node.name}) computes in float16; geometry stays float32"


def _signed_values(model: onnx.ModelProto, types: dict[str, int]) -> Iterator[str]:
    """OpenVINO 2026.4 loses the zero point of a signed Concat in front of a convolution."""
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and types.get(node.input[-1]) != TensorProto.UINT8:
            yield f"QuantizeLinear ({node.name}) is signed: OpenVINO computes its Concat wrongly"


def _weight_zero_points(model: onnx.ModelProto) -> Iterator[str]:
    """Weights with a zero point cost a second product in every engine."""
    stored = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        names = node.input
        if node.op_type != "DequantizeLinear" or names[0] not in stored or len(names) < 3:
            continue
        if numpy_helper.to_array(stored[names[2]]).any():
            yield f"DequantizeLinear ({node.name}) of a weight with a zero point"


def _quantised_geometry(model: onnx.ModelProto) -> Iterator[str]:
    """Only the networks have 8 bits: everything outside them stays float32."""
    inside = {node.output[0] for node in network_nodes(model)}
    for node in model.graph.node:
        if node.op_type in QUANTISING and node.output[0] not in inside:
            yield f"{node.op_type} ({node.name}) outside the networks; geometry stays float32"
