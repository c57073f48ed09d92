"""Data in other files is found wherever ONNX can put a tensor, however it is encoded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from foveate.runtime.bundle.graph_safety import graph_problem
from tests.runtime.bundle.tampering_signed import external, message, varint

GRAPH = "cascade.fp32.onnx"


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


@pytest.mark.parametrize("location", [True, False])
@pytest.mark.parametrize("put", PLACES)
def test_every_place_is_looked_at(
    bundle: Path, put: Callable[[onnx.ModelProto, TensorProto], None], location: bool
) -> None:
    model = onnx.load_from_string((bundle / GRAPH).read_bytes())
    put(model, outside(location))
    assert "external data" in graph_problem(model.SerializeToString())


@pytest.mark.parametrize("seed", range(24))
def test_every_encoding_is_read(bundle: Path, tmp_path: Path, seed: int) -> None:
    """Lengths and numbers that are longer than they need be; onnx reads these bytes alike."""
    folder = Path(shutil.copytree(bundle, tmp_path / "b"))
    external(folder, np.random.default_rng(seed))
    data = (folder / GRAPH).read_bytes()
    read = onnx.load_from_string(data).graph.initializer
    assert any(tensor.external_data for tensor in read)
    assert "external data" in graph_problem(data)


def test_a_deep_nest_of_graphs_is_refused() -> None:
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(24):
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph)
        graph = helper.make_graph([node], "outer", [], [])
    data = onnx.ModelProto(graph=graph).SerializeToString()
    assert graph_problem(data) == "is not an ONNX file, or is damaged"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_our_graphs_are_sound(bundle: Path, precision: str) -> None:
    assert graph_problem((bundle / f"cascade.{precision}.onnx").read_bytes()) == ""


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


@pytest.mark.parametrize("put", [in_attribute, in_list, in_branch, in_sparse, in_function])
@pytest.mark.parametrize("tensor", NOT_FINITE.values(), ids=NOT_FINITE)
def test_numbers_that_are_not_finite_or_not_ours(
    bundle: Path, put: Callable[[onnx.ModelProto, TensorProto], None], tensor: TensorProto
) -> None:
    model = onnx.load_from_string((bundle / GRAPH).read_bytes())
    put(model, tensor)
    told = graph_problem(model.SerializeToString())
    assert told in (
        "has weights that are not finite",
        "has numbers listed as integers; expected what foveate export writes",
        f"has numbers of the ONNX type {tensor.data_type}; expected what foveate export writes",
    )


@pytest.mark.parametrize("attribute", [{"value_float": NAN}, {"value_floats": [1.0, INFINITY]}])
def test_attributes_that_are_not_finite(bundle: Path, attribute: dict[str, object]) -> None:
    model = onnx.load_from_string((bundle / GRAPH).read_bytes())
    model.graph.node.append(helper.make_node("Constant", [], ["c"], **attribute))  # type: ignore[arg-type]
    assert graph_problem(model.SerializeToString()) == "has attributes that are not finite"


def test_a_type_that_protobuf_cuts_to_float(bundle: Path) -> None:
    """Of a number of 64 bits protobuf keeps 32: 2**32 + 1 is the type 1."""
    body = varint(2 << 3) + varint(2**32 + 1) + message(9, np.float32(NAN).tobytes(), 0)
    assert TensorProto.FromString(body).data_type == TensorProto.FLOAT
    data = (bundle / GRAPH).read_bytes() + message(7, message(5, body, 0), 0)
    assert graph_problem(data) == "has weights that are not finite"


def test_a_tensor_in_two_parts(bundle: Path) -> None:
    """Protobuf merges them: the type of one, the numbers of the other."""
    parts = [varint(2 << 3) + b"\1", message(9, np.float32(NAN).tobytes(), 0)]
    attribute = message(1, b"value", 0) + b"".join(message(5, part, 0) for part in parts)
    merged = AttributeProto.FromString(attribute).t
    assert merged.data_type == TensorProto.FLOAT and len(merged.raw_data) == 4
    node = message(4, b"Constant", 0) + message(5, attribute, 0)
    data = (bundle / GRAPH).read_bytes() + message(7, message(1, node, 0), 0)
    assert graph_problem(data) == "is not an ONNX file, or is damaged"


@pytest.mark.parametrize("graphs", [[], [helper.make_graph([], "empty", [], [])]])
def test_a_file_without_nodes(graphs: list[onnx.GraphProto]) -> None:
    data = onnx.ModelProto(ir_version=8).SerializeToString()
    data += b"".join(message(7, graph.SerializeToString(), 0) for graph in graphs)
    assert "has no ONNX graph, or an empty one" in graph_problem(data)


def test_half_precision_that_is_not_finite(bundle: Path) -> None:
    model = onnx.load_from_string((bundle / "cascade.fp16.onnx").read_bytes())
    half = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16)
    half.raw_data = half.raw_data[:-2] + b"\x00\x7c"
    assert "not finite" in graph_problem(model.SerializeToString())
