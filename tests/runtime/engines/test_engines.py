"""One contract for every engine of the table."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foveate.runtime.engines import ENGINES, engine_from_onnx
from foveate.runtime.engines.base import Engine, TensorSpec, feed
from foveate.runtime.errors import EngineError


def two_outputs() -> bytes:
    """Return a three-node graph: y = 2x + 1, z = -x."""
    value = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"]),
        helper.make_node("Add", ["double", "one"], ["y"]),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    shaped = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in "xyz"}
    graph = helper.make_graph(nodes, "g", [shaped["x"]], [shaped["y"], shaped["z"]], [value, one])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_from_onnx(request.param, two_outputs(), 1)


class TestContract:
    def test_names(self, engine: Engine) -> None:
        assert engine.inputs == (TensorSpec("x", "float32", (None,)),)
        assert {item.name for item in engine.outputs} == {"y", "z"}

    def test_only_what_is_asked_for(self, engine: Engine) -> None:
        x = np.array([1, 2, 3], np.float32)
        assert set(engine.run({"x": x}, ["z"])) == {"z"}
        found = engine.run({"x": x}, ["z", "y"])
        np.testing.assert_array_equal(found["y"], 2 * x + 1)
        np.testing.assert_array_equal(found["z"], -x)

    def test_results_outlive_the_next_run(self, engine: Engine) -> None:
        first = engine.run({"x": np.ones(2, np.float32)}, ["y"])["y"]
        engine.run({"x": np.zeros(2, np.float32)}, ["y"])
        np.testing.assert_array_equal(first, [3, 3])

    def test_closing_twice_and_using_it_afterwards(self, engine: Engine) -> None:
        with engine:
            pass
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run({"x": np.ones(1, np.float32)}, ["y"])

    @pytest.mark.parametrize("name", ENGINES)
    def test_a_damaged_graph_is_refused(self, name: str) -> None:
        with pytest.raises(EngineError, match="refuses the graph"):
            engine_from_onnx(name, two_outputs()[:40], 1)


def test_16_bit_pixels_become_their_little_endian_bytes_without_a_copy() -> None:
    pixels = np.array([[[1, 256, 65535]]], np.uint16)
    bytes_ = feed(pixels)
    assert bytes_.dtype == np.uint8
    assert bytes_.tolist() == [[[[1, 0], [0, 1], [255, 255]]]]
    assert np.shares_memory(bytes_, pixels)
