"""Data in other files is found wherever ONNX can put a tensor, however it is encoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from foveate.runtime.bundle.graph_safety import graph_problem


@pytest.fixture
def graph(thresholds: Path) -> bytes:
    return (thresholds / "cascade.fp32.onnx").read_bytes()


def outside(location: bool = True) -> TensorProto:
    """Return a tensor that is kept elsewhere; without ``location`` only its mark says so."""
    tensor = TensorProto(name="far", dims=[2], data_type=TensorProto.FLOAT)
    if location:
        tensor.external_data.add(key="location", value="x.bin")
    else:
        tensor.data_location = TensorProto.EXTERNAL
    return tensor


def in_attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = AttributeProto(name="all", type=AttributeProto.TENSORS, tensors=[tensor])
    model.graph.node.add(op_type="Constant").attribute.append(attribute)


def in_branch(model: onnx.ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner))


def in_sparse(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.functions.add(name="f").node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES = [in_attribute, in_list, in_branch, in_sparse, in_function, in_training]


@pytest.mark.parametrize("put", PLACES)
def test_every_place_is_looked_at(
    graph: bytes, put: Callable[[onnx.ModelProto, TensorProto], None]
) -> None:
    for location in (True, False):
        model = onnx.load_from_string(graph)
        put(model, outside(location))
        assert "external data" in graph_problem(model.SerializeToString())


def varint(value: int, padding: int = 0) -> bytes:
    """Return a protobuf varint, not the shortest when ``padding`` is not 0."""
    groups = []
    while value or not groups:
        groups.append(value & 0x7F)
        value >>= 7
    groups += [0] * padding
    return bytes([item | 0x80 for item in groups[:-1]] + groups[-1:])


def message(number: int, content: bytes, padding: int = 0) -> bytes:
    return varint(number << 3 | 2, padding % 3) + varint(len(content), padding) + content


@pytest.mark.parametrize("padding", range(4))
def test_every_encoding_is_read(graph: bytes, tmp_path: Path, padding: int) -> None:
    """Lengths and numbers that are longer than they need be; onnx reads these bytes alike."""
    model = onnx.load_from_string(graph)
    tensor = next(item for item in model.graph.initializer if item.name.startswith("stage1"))
    entries = [message(1, b"location", padding), message(2, os.fsencode(tmp_path), padding)]
    where = varint(14 << 3, padding % 3) + varint(1, padding)
    made = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    model.graph.initializer.remove(tensor)
    for entry in (entries, entries[::-1]):
        body = made.SerializeToString() + message(13, b"".join(entry), padding) + where
        inner = message(7, message(5, body, padding), padding)
        data = model.SerializeToString() + inner
        assert any(t.external_data for t in onnx.load_from_string(data).graph.initializer)
        assert "external data" in graph_problem(data)


def test_a_deep_nest_of_graphs_is_refused() -> None:
    nest = helper.make_graph([], "inner", [], [])
    for _ in range(24):
        node = helper.make_node("If", ["c"], ["y"], then_branch=nest)
        nest = helper.make_graph([node], "outer", [], [])
    data = onnx.ModelProto(graph=nest).SerializeToString()
    assert graph_problem(data) == "is not an ONNX file, or is damaged"


def test_our_graphs_are_sound(bundle: Path) -> None:
    for path in bundle.glob("*.onnx"):
        assert graph_problem(path.read_bytes()) == ""


def raw(data_type: int, content: bytes) -> TensorProto:
    return TensorProto(name="x", data_type=data_type, dims=[1], raw_data=content)


NAN, INFINITY = float("nan"), float("inf")
NOT_FINITE = {
    "float_data": TensorProto(data_type=TensorProto.FLOAT, float_data=[1.0, -INFINITY]),
    "double_data": TensorProto(data_type=TensorProto.DOUBLE, double_data=[NAN]),
    "raw double": raw(TensorProto.DOUBLE, np.float64(NAN).tobytes()),
    "raw complex": raw(TensorProto.COMPLEX64, np.complex64(complex(0, NAN)).tobytes()),
    "half, int32_data": TensorProto(data_type=TensorProto.FLOAT16, int32_data=[0x7E00]),
    "bfloat16, int32_data": TensorProto(data_type=TensorProto.BFLOAT16, int32_data=[0x7FC0]),
    "raw bfloat16": raw(TensorProto.BFLOAT16, b"\xc0\x7f"),
    "raw float8": raw(TensorProto.FLOAT8E4M3FN, b"\x7f"),
}


@pytest.mark.parametrize("tensor", NOT_FINITE.values(), ids=NOT_FINITE)
def test_numbers_that_are_not_finite_or_not_ours(graph: bytes, tensor: TensorProto) -> None:
    model = onnx.load_from_string(graph)
    in_attribute(model, tensor)
    assert graph_problem(model.SerializeToString()) in (
        "has weights that are not finite",
        "has numbers listed as integers; expected what foveate export writes",
        f"has numbers of the ONNX type {tensor.data_type}; expected what foveate export writes",
    )


@pytest.mark.parametrize("attribute", [{"value_float": NAN}, {"value_floats": [1.0, INFINITY]}])
def test_attributes_that_are_not_finite(graph: bytes, attribute: dict[str, object]) -> None:
    model = onnx.load_from_string(graph)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], **attribute))  # type: ignore[arg-type]
    assert graph_problem(model.SerializeToString()) == "has attributes that are not finite"


def test_a_type_that_protobuf_cuts_to_float(graph: bytes) -> None:
    """Of a number of 64 bits protobuf keeps 32: 2**32 + 1 is the type 1."""
    body = varint(2 << 3) + varint(2**32 + 1) + message(9, np.float32(NAN).tobytes())
    assert TensorProto.FromString(body).data_type == TensorProto.FLOAT
    data = graph + message(7, message(5, body))
    assert graph_problem(data) == "has weights that are not finite"


def test_a_tensor_in_two_parts(graph: bytes) -> None:
    """Protobuf merges them: the type of one, the numbers of the other."""
    parts = [varint(2 << 3) + b"\1", message(9, np.float32(NAN).tobytes())]
    attribute = message(1, b"value") + b"".join(message(5, part) for part in parts)
    merged = AttributeProto.FromString(attribute).t
    assert merged.data_type == TensorProto.FLOAT and len(merged.raw_data) == 4
    node = message(4, b"Constant") + message(5, attribute)
    data = graph + message(7, message(1, node))
    assert graph_problem(data) == "is not an ONNX file, or is damaged"


def test_half_precision_that_is_not_finite(bundle: Path) -> None:
    model = onnx.load_from_string((bundle / "cascade.fp16.onnx").read_bytes())
    half = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16)
    half.raw_data = half.raw_data[:-2] + b"\x00\x7c"
    assert "not finite" in graph_problem(model.SerializeToString())
