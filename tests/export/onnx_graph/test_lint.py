"""The lint finds every trap it knows; that our graphs have none is held where they are run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveate.export.onnx_graph.lint import FORBIDDEN, lint


def graph_of(
    node: onnx.NodeProto, kind: int = TensorProto.FLOAT, opset: int = 18
) -> onnx.ModelProto:
    """Return a model of one node that reads ``x``."""
    graph = helper.make_graph(
        [node],
        "trap",
        [helper.make_tensor_value_info("x", kind, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("operator", FORBIDDEN)
def test_forbidden_operators_are_found(operator: str) -> None:
    model = graph_of(helper.make_node(operator, ["x"], ["y"], name="trap"))
    findings = lint(model)
    assert any(line.startswith(f"{operator} (trap)") for line in findings)


def test_reduce_max_on_uint8_and_where_of_uint8_are_found() -> None:
    reduce = graph_of(helper.make_node("ReduceMax", ["x"], ["y"], name="trap"), TensorProto.UINT8)
    assert any("ReduceMax (trap) on bool or uint8" in line for line in lint(reduce))
    where = graph_of(
        helper.make_node("Where", ["c", "x", "x"], ["y"], name="trap"), TensorProto.UINT8
    )
    where.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    assert any("Where (trap) of uint8" in line for line in lint(where))


@pytest.mark.parametrize("kind", ["BOOL", "INT8", "INT32", "INT64"])
def test_a_cast_between_uint8_and_what_is_not_a_float_is_found(kind: str) -> None:
    other = getattr(TensorProto, kind)
    for source, target in ((other, TensorProto.UINT8), (TensorProto.UINT8, other)):
        node = helper.make_node("Cast", ["x"], ["y"], name="trap", to=target)
        assert [line.split(" of ")[0] for line in lint(graph_of(node, source))] == ["Cast (trap)"]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_cast_of_floats_to_uint8_is_clean(kind: int) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.UINT8)
    assert lint(graph_of(node, kind)) == []


def test_a_range_with_a_bound_that_has_an_axis_is_found() -> None:
    model = graph_of(helper.make_node("Range", ["x", "x", "step"], ["y"], name="trap"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "step"))
    assert any("Range (trap) with a bound that has an axis" in line for line in lint(model))


def test_half_precision_geometry_is_found() -> None:
    model = graph_of(
        helper.make_node("MatMul", ["x", "x"], ["y"], name="trap"), TensorProto.FLOAT16
    )
    assert any("MatMul (trap) computes in float16" in line for line in lint(model))


def test_another_operator_set_and_external_data_are_found() -> None:
    model = graph_of(helper.make_node("Relu", ["x"], ["y"]), opset=20)
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "outside")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)
    findings = lint(model)
    assert any("expected the standard set 18" in line for line in findings)
    assert any("outside is kept outside the file" in line for line in findings)


def rounding(kind: str, zero_point: np.generic, reads: str) -> onnx.ModelProto:
    """Return a model of one node that quantises ``x``, or dequantises the stored ``w``."""
    model = graph_of(helper.make_node(kind, [reads, "scale", "zero"], ["y"], name="trap"))
    values = {"scale": np.array(0.1, np.float32), "zero": np.array(zero_point)}
    values["w"] = np.zeros(4, zero_point.dtype)
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def test_signed_values_and_8_bits_in_the_geometry_are_found() -> None:
    findings = lint(rounding("QuantizeLinear", np.int8(0), "x"))
    assert any("QuantizeLinear (trap) is signed" in line for line in findings)
    findings = lint(rounding("QuantizeLinear", np.uint8(128), "x"))
    assert findings == ["QuantizeLinear (trap) outside the networks; geometry stays float32"]


def test_a_weight_with_a_zero_point_is_found() -> None:
    assert any(
        "with a zero point" in li for li in lint(rounding("DequantizeLinear", np.int8(3), "w"))
    )
    sound = lint(rounding("DequantizeLinear", np.int8(0), "w"))
    assert not any("with a zero point" in line for line in sound)
