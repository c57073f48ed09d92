"""Read a network's ONNX file: what cannot be imported is refused, the rest becomes opset 18."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter

from foveate.export.onnx_graph.writer import OPSET
from foveate.runtime.bundle.bundle import file_sha256
from foveate.runtime.engines.onnxruntime import short
from foveate.runtime.errors import BundleError

OLDEST, NEWEST = 10, 23
"""Operator sets that onnx converts to ours."""
MOST_BYTES = 1 << 30
"""A cascade of two networks has to fit into one ONNX file of 2 GB."""
HOW = "torch.onnx.export(model.eval(), example, FILE, opset_version=18, external_data=False)"
LEGACY = {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"}
"""How pickles and the zip files of torch.save begin."""


@dataclass(frozen=True)
class NetworkFile:
    """An ONNX model as it was read, its weights inside, and what the manifest says of it."""

    name: str
    model: onnx.ModelProto
    record: dict[str, object]


def read_network(path: Path) -> NetworkFile:
    """Return the model of an ONNX file, weights in files next to it included.

    BundleError for what is not such a file, for more than 1 GB, and for an operator set that is
    not known.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if path.stat().st_size == 0:
        raise BundleError(f"{path}: is empty (0 bytes). Copy it again")
    if data[:2] in LEGACY:
        raise BundleError(
            f"{path}: is a pickle of PyTorch, which could run any code, or TorchScript; export it "
            f"as ONNX where the network's Python code is: {HOW}; or as .pt2: torch.export.save"
        )
    try:
        model = onnx.load_from_string(data) if data else onnx.ModelProto()
    except Exception:  # protobuf's own, which has no types
        raise BundleError(f"{path}: is not an ONNX file, or is cut short. Copy it again") from None
    outside = sorted({_location(item) for item in model.graph.initializer if item.external_data})
    if missing := [name for name in outside if not (path.parent / name).is_file()]:
        raise BundleError(f"{path}: its weights are in {missing[0]}; copy that file next to it")
    size = path.stat().st_size + sum(_size(path.parent / name) for name in outside)
    if size > MOST_BYTES:
        raise BundleError(
            f"{path}: has {size / 1e9:.1f} GB with the files of its weights; expected at most "
            f"{MOST_BYTES / 1e9:.1f} GB"
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise BundleError(f"{path}: its weights cannot be read: {short(error)}") from None
    file = network_file(path.name, model, hashlib.sha256(data).hexdigest())
    if outside:
        file.record["weights"] = {name: file_sha256(path.parent / name) for name in outside}
    return file


def network_file(name: str, model: onnx.ModelProto, sha256: str) -> NetworkFile:
    """Return a model with its record; BundleError for an operator set that is not known."""
    versions = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    opset = versions.pop("ai.onnx", 0)
    used = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if used or model.functions:
        raise BundleError(
            f"{name}: has operators of {', '.join(sorted(used)) or 'functions of its own'}; "
            "expected ONNX's own. Export it without them"
        )
    if not OLDEST <= opset <= NEWEST:
        raise BundleError(
            f"{name}: is of operator set {opset}; expected {OLDEST} to {NEWEST}. Export it again "
            "with opset_version=18"
        )
    producer = f"{model.producer_name} {model.producer_version}".strip()
    record: dict[str, object] = {"file": name, "sha256": sha256, "producer": producer}
    return NetworkFile(name, model, record | {"opset": opset})


def prepared(file: NetworkFile, sides: list[int | str], output: str) -> onnx.ModelProto:
    """Return a network in opset 18 with one input of ``sides``, one output, constants folded.

    ONNX Runtime folds constants and BatchNorm. A batch of one that is written into shapes becomes
    a batch of any number. BundleError names what stands in the way.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    (given,) = inputs(model)
    _keep_output(model, output)
    if {item.domain: item.version for item in model.opset_import}.get("", 0) != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:
            raise BundleError(
                f"{file.name}: cannot be converted to operator set {OPSET}: {short(error)}. Export "
                "it again with opset_version=18"
            ) from None
    _free_batch(model)
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.append(helper.make_tensor_value_info(given.name, TensorProto.FLOAT, sides))
    return _multiplying(_simplified(file.name, model))


def inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are not weights."""
    weights = {item.name for item in model.graph.initializer}
    return [item for item in model.graph.input if item.name not in weights]


def _keep_output(model: onnx.ModelProto, output: str) -> None:
    """Make a tensor the only output, and leave out the nodes that it does not need."""
    needed, kept = {output}, []
    for node in reversed(model.graph.node):  # sorted: makers before users
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    del model.graph.output[:]
    value = onnx.ValueInfoProto(name=output)
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output.append(value)


def _free_batch(model: onnx.ModelProto) -> None:
    """Let shapes that are constants, made for a batch of one, hold for any batch."""
    shapes = {
        item.name: [side.dim_value for side in item.type.tensor_type.shape.dim]
        for item in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for number, node in enumerate(model.graph.node):
        place = {"Reshape": 1, "Resize": 3}.get(node.op_type, 9)
        tensor = constants.get(node.input[place]) if len(node.input) > place else None
        sides = [] if tensor is None else numpy_helper.to_array(tensor).ravel().tolist()
        if len(sides) < 2 or sides[0] != 1:
            continue
        name, was = f"{node.output[0]}.sides.{number}", shapes.get(node.input[0], [])
        values = np.array(sides, np.int64)
        if node.op_type == "Reshape":
            values[0] = 0
            node.input[place] = name
        elif any(item.name == "axes" for item in node.attribute):
            continue
        elif len(was) == len(sides) and all(was) and not (values % was).any():
            # of whole factors every engine takes an int8 Resize, of sizes ONNX Runtime does not
            node.input[:] = [node.input[0], "", name]
            values = (values // was).astype(np.float32)
        else:
            node.attribute.append(helper.make_attribute("axes", list(range(1, len(sides)))))
            node.input[place], values = name, values[1:]
        model.graph.initializer.append(numpy_helper.from_array(values, name))


def _simplified(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BundleError(f"{name}: ONNX Runtime refuses it: {short(error)}") from None
        simple = onnx.load(path)
    foreign = {node.op_type for node in simple.graph.node if node.domain not in ("", "ai.onnx")}
    if foreign:
        raise BundleError(f"{name}: ONNX Runtime made {', '.join(foreign)} of it, not ONNX's own")
    return simple


def _multiplying(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with products in place of divisions by constants.

    TensorRT-RTX 1.7.1 crashes where a product follows such a division.
    """
    stored = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        divisor = stored.get(node.input[1]) if node.op_type == "Div" else None
        if divisor is not None and divisor.data_type == TensorProto.FLOAT:
            name = f"{node.output[0]}.factor"
            factor = np.float32(1) / numpy_helper.to_array(divisor)
            model.graph.initializer.append(numpy_helper.from_array(factor, name))
            node.op_type, node.input[1] = "Mul", name
    used = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _location(tensor: TensorProto) -> str:
    return next((item.value for item in tensor.external_data if item.key == "location"), "")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
