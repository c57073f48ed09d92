"""The TensorRT engine over a fake device and a stand-in for TensorRT that runs real ONNX files.

This shows shapes, names, errors and ends. What TensorRT computes is shown on a GPU: tests/gpu.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_engine import PlanEngine
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings
from foveate.runtime.errors import DeviceMemoryError, EngineError
from tests.runtime.engines.cuda.fake_device import FakeDevice
from tests.runtime.engines.tensorrt.standin_tensorrt import CudaGraphStrategy, StandIn, over_fake
from tests.runtime.engines.test_engines import two_outputs

SMALL = {"x": ((1,), (4,), (8,))}
LARGE = {"x": ((20,), (30,), (40,))}
BUILD = "foveate build B --engine tensorrt"


class Place:
    """A fake device with a stand-in for TensorRT, and engines on it."""

    def __init__(self, patch: pytest.MonkeyPatch, device: FakeDevice, rtx: bool = True) -> None:
        self._patch, self.device, self._rtx = patch, device, rtx
        self.trt: StandIn = self.take([SMALL])

    def take(self, profiles: list[dict[str, tuple]]) -> StandIn:  # type: ignore[type-arg]
        self.trt = over_fake(self.device, profiles, self._rtx)
        module = self.trt.module()
        self._patch.setitem(sys.modules, module.__name__, module)
        return self.trt

    def engine(
        self,
        plan: bytes | None = None,
        slots: int = 2,
        runtime_cache: bytes = b"",
        host_code: bool = False,
    ) -> PlanEngine:
        flavour = "tensorrt_rtx" if self._rtx else "tensorrt"
        facts = PlanFacts(flavour, "1.2.3", BUILD, host_code)
        settings = RingSettings(slots)
        return PlanEngine(plan or two_outputs(), facts, self.device, settings, runtime_cache)


@pytest.fixture(params=[True, False], ids=["rtx", "full"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(monkeypatch, FakeDevice(graphs=not request.param), request.param)
    yield made
    assert made.device.clean


def x(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


def test_it_keeps_the_contract_of_an_engine(place: Place) -> None:
    with place.engine() as engine:
        assert engine.inputs == (TensorSpec("x", "float32", (None,)),)
        assert {item.name for item in engine.outputs} == {"y", "z"}
        first = engine.run(x(1, 2, 3), ["z"])
        assert set(first) == {"z"}
        for _ in range(5):
            assert engine.run(x(0, 5), ["z", "y"])["y"].tolist() == [1, 11]
        assert first["z"].tolist() == [-1, -2, -3]
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(x(1), ["y"])


def test_a_shape_outside_the_profile_is_refused_by_name(place: Place) -> None:
    with place.engine() as engine:
        with pytest.raises(
            EngineError, match='input "x" is 9; this plan takes 1..8.*foveate build'
        ):
            engine.run(x(*range(9)), ["y"])
        with pytest.raises(EngineError, match='input "x" is 1x2; this plan takes 1..8'):
            engine.run({"x": np.zeros((1, 2), np.float32)}, ["y"])
        assert engine.run(x(1), ["y"])["y"].tolist() == [3]


def test_the_profile_that_covers_a_shape_is_taken(place: Place) -> None:
    place.take([SMALL, LARGE])
    with place.engine(slots=1) as engine:
        for count in (3, 25, 4, 40, 25):
            assert engine.run(x(*range(count)), ["z"])["z"].tolist() == [-n for n in range(count)]
        assert place.trt.contexts[0].profile == 1
        with pytest.raises(EngineError, match='input "x" is 12; this plan takes 1..8 or 20..40'):
            engine.run(x(*range(12)), ["y"])


@pytest.mark.parametrize(
    ("feeds", "outputs", "said"),
    [
        ({}, ["y"], 'input "x" is missing; expected x'),
        ({**x(1), "w": np.zeros(1)}, ["y"], 'there is no input "w"; the plan has x'),
        ({"x": np.zeros(1)}, ["y"], 'input "x" is float64; expected float32'),
        (x(1), ["mask"], 'there is no output "mask"; the plan has y, z'),
    ],
)
def test_wrong_names_and_types(
    place: Place, feeds: dict[str, np.ndarray], outputs: list[str], said: str
) -> None:
    with place.engine() as engine, pytest.raises(EngineError, match=said):
        engine.run(feeds, outputs)


def test_a_plan_that_is_refused_says_why_and_how_it_is_built_again(place: Place) -> None:
    said = "refuses the plan that 1.2.3 built: the magic tag does not match. Rebuild it: " + BUILD
    with pytest.raises(EngineError, match=said):
        place.engine(two_outputs()[:40])


def test_a_context_without_room_is_an_error_of_memory_and_leaves_nothing(place: Place) -> None:
    place.trt.most_contexts = 2
    with pytest.raises(DeviceMemoryError, match="execution context: out of memory. It takes 1 MiB"):
        place.engine(slots=3)
    place.trt.fails, place.trt.least_context_bytes = "context", 1 << 31
    with pytest.raises(DeviceMemoryError, match="takes 2048 MiB, 1024 MiB of fake device are free"):
        place.engine()


@pytest.mark.parametrize(
    ("fails", "said", "rtx"),
    [
        ("context", r"on fake device \(sm00\): compute capability 9.0 is not supported", False),
        ("context", r"on fake device \(sm00\): compute capability 9.0 is not supported", True),
        ("runtime", "cannot start: CUDA initialization failure with error: 35", True),
        ("config", "run-time settings: no settings", True),
        ("cache", "refuses its kernel cache", True),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(
    fails: str, said: str, rtx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(monkeypatch, FakeDevice(), rtx)
    place.trt.fails = fails
    with pytest.raises(EngineError, match=said) as raised:
        place.engine()
    assert not isinstance(raised.value, DeviceMemoryError) and place.device.clean


def test_host_code_is_allowed_only_where_the_record_says_so(place: Place) -> None:
    place.trt.host_code = True
    with pytest.raises(EngineError, match="carries host code, which is not allowed"):
        place.engine()
    with place.engine(host_code=True) as engine:
        assert engine.run(x(1), ["y"])["y"].tolist() == [3]


@pytest.mark.parametrize(("settings", "strategy"), [(RingSettings(), "LAZY"), (LATENCY, "EAGER")])
def test_rtx_compiles_a_shape_first_only_for_latency(
    settings: RingSettings, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(monkeypatch, FakeDevice())
    facts = PlanFacts("tensorrt_rtx", "1.2.3", BUILD)
    with PlanEngine(two_outputs(), facts, place.device, settings):
        config = place.trt.contexts[0].config
    assert config is not None
    assert config.dynamic_shapes_kernel_specialization_strategy.name == strategy


def test_a_forgotten_engine_frees_what_it_held(place: Place) -> None:
    engine = place.engine()
    engine.run(x(1), ["y"])
    del engine
    gc.collect()
    assert place.device.clean


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_frees_nothing_and_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    place = Place(monkeypatch, FakeDevice(pause=lambda: gate.wait(20)))
    with place.engine() as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        ticket = engine.submit(x(1), ["y"])
        child = os.fork()
        if not child:
            engine.close()
            os._exit(7)
        ends = time.monotonic() + 10
        while not (found := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < ends:
            time.sleep(0.01)
        if not found[0]:
            os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(found[1]) == 7 and found[0]
        gate.set()
        assert ticket.result().outputs["y"].tolist() == [3]


def test_rtx_replays_its_own_graphs_and_keeps_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, FakeDevice(graphs=True))
    with place.engine() as engine:
        assert engine.cache_loaded is None
        kernels = engine.runtime_cache()
        done = [engine.submit(x(1), ["y"]).result() for _ in range(6)]
    assert not any(item.times.replayed for item in done)
    config = place.trt.contexts[0].config
    assert config is not None and config is place.trt.contexts[1].config
    assert config.cuda_graph_strategy == CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    for given, loaded in ((kernels, True), (b"of another GPU", False)):
        with place.engine(runtime_cache=given) as engine:
            assert engine.cache_loaded is loaded


def test_full_tensorrt_is_captured_and_has_no_kernel_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, FakeDevice(graphs=True), rtx=False)
    with place.engine(slots=1) as engine:
        done = [engine.submit(x(1, value), ["y"]).result() for value in range(4)]
        assert [item.times.replayed for item in done] == [False, True, True, True]
        assert [item.outputs["y"][1] for item in done] == [1, 3, 5, 7]
        assert engine.runtime_cache() == b"" and engine.cache_loaded is None
