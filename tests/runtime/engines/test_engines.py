"""One contract for every engine of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime
import psutil
import pytest

from foveate.runtime.arrays import feed
from foveate.runtime.engines import onnxruntime as onnxruntime_engine
from foveate.runtime.engines.base import Engine, TensorSpec
from foveate.runtime.engines.host_memory import HostMemory, PinnedMemory, PlainMemory
from foveate.runtime.engines.onnxruntime import BoundSession, session_options
from foveate.runtime.engines.registry import ENGINES, engine_from_onnx
from foveate.runtime.errors import EngineError
from tests.runtime.engines.cuda.fake_device import FakeDevice
from tests.runtime.engines.tiny_graphs import int8_convolution, two_outputs


def loaded(name: str, graph: bytes) -> Engine:
    """Return an engine; the test is skipped where a GPU or its libraries are missing."""
    try:
        return engine_from_onnx(name, graph, 1)
    except EngineError as error:
        if name == "onnxruntime":
            raise
        pytest.skip(str(error))


def bound_session(memory: Callable[[], HostMemory]) -> BoundSession:
    """Return what the CUDA provider's engine is made of, over the CPU provider."""
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(two_outputs(), session_options(1), providers=providers)
    return BoundSession(session, memory)


@pytest.fixture(params=[*ENGINES, "bound, plain", "bound, pinned"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "bound, plain":
        return bound_session(PlainMemory)
    if request.param == "bound, pinned":
        return bound_session(partial(PinnedMemory, FakeDevice()))
    return loaded(request.param, two_outputs())


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
        loaded(name, two_outputs()).close()
        with pytest.raises(EngineError, match="refuses the graph"):
            engine_from_onnx(name, two_outputs()[:40], 1)


def test_16_bit_pixels_become_their_little_endian_bytes_without_a_copy() -> None:
    pixels = np.array([[[1, 256, 65535]]], np.uint16)
    bytes_ = feed(pixels)
    assert bytes_.dtype == np.uint8
    assert bytes_.tolist() == [[[[1, 0], [0, 1], [255, 255]]]]
    assert np.shares_memory(bytes_, pixels)


def test_what_large_feeds_took_is_given_back() -> None:
    """Sixty-four mebibytes of feed, and twice that of output, leave nothing behind."""
    process = psutil.Process()
    with loaded("onnxruntime", two_outputs()) as engine:
        engine.run({"x": np.ones(8, np.float32)}, ["y"])
        before = process.memory_info().rss
        x = np.ones(onnxruntime_engine.LARGE // 4, np.float32)
        found = engine.run({"x": x}, ["y", "z"])
        assert found["y"][-1] == 3 and found["z"][0] == -1
        del found, x
        assert process.memory_info().rss - before < onnxruntime_engine.LARGE // 2
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": np.ones(onnxruntime_engine.LARGE // 4, np.float32)}, ["y"])


def test_int8_products_are_added_up_whole_on_every_processor() -> None:
    """Two of them exceed 16 bits, where processors without VNNI cut off unless told otherwise."""
    with engine_from_onnx("onnxruntime", int8_convolution(), 1) as engine:
        found = engine.run({"x": np.full((1, 4, 3, 3), 255, np.float32)}, ["y"])
    np.testing.assert_array_equal(found["y"], np.full((1, 1, 3, 3), 130_000))  # 4 x 127 x 255
