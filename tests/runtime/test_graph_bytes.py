"""Data in other files is found wherever ONNX can put a tensor, however it is encoded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from foveate.runtime.graph_bytes import graph_problem
from tests.tampering_signed import external

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


def test_half_precision_that_is_not_finite(bundle: Path) -> None:
    model = onnx.load_from_string((bundle / "cascade.fp16.onnx").read_bytes())
    half = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16)
    half.raw_data = half.raw_data[:-2] + b"\x00\x7c"
    assert "not finite" in graph_problem(model.SerializeToString())
