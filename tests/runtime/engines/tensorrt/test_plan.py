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
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.checks import check_signature
from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_engine import PlanEngine
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings
from foveate.runtime.errors import DeviceMemoryError, EngineError
from tests.runtime.engines.cuda.fake_device import FakeDevice, Faults
from tests.runtime.engines.tensorrt.standin_tensorrt import CudaGraphStrategy, StandIn, over_fake
from tests.runtime.engines.test_engines import two_outputs

DEMO = Path(__file__).parents[4] / "benchmarks" / "demo_bundle"
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


def test_a_run_that_is_refused_says_why(place: Place) -> None:
    with place.engine() as engine:
        place.trt.refuse_runs = True
        with pytest.raises(EngineError, match="cannot run the plan: enqueue: no"):
            engine.run(x(1), ["y"])
        place.trt.refuse_runs = False
        assert engine.run(x(1), ["y"])["y"].tolist() == [3]


def test_no_room_for_a_context_leaves_nothing(place: Place) -> None:
    place.trt.most_contexts = 2
    with pytest.raises(DeviceMemoryError, match="execution context: out of memory. It takes 1 MiB"):
        place.engine(slots=3)
    assert place.device.clean


def test_a_context_that_is_larger_than_the_free_memory_has_no_room(place: Place) -> None:
    place.trt.fails, place.trt.least_context_bytes = "context", 1 << 31
    with pytest.raises(DeviceMemoryError, match="takes 2048 MiB, 1024 MiB of fake device are free"):
        place.engine()
    assert place.device.clean


def test_a_context_that_is_refused_for_another_reason_says_so(place: Place) -> None:
    place.trt.fails = "context"
    said = r"cannot run the plan on fake device \(sm00\): compute capability 9.0 is not supported"
    with pytest.raises(EngineError, match=said) as raised:
        place.engine()
    assert not isinstance(raised.value, DeviceMemoryError) and place.device.clean


def test_a_runtime_that_cannot_start_says_why(place: Place) -> None:
    place.trt.fails = "runtime"
    with pytest.raises(
        EngineError, match="cannot start: CUDA initialization failure with error: 35"
    ):
        place.engine()


@pytest.mark.parametrize(
    ("fails", "said"),
    [("config", "run-time settings: no settings"), ("cache", "refuses its kernel cache")],
)
def test_settings_that_rtx_refuses_are_an_engine_error(
    fails: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(monkeypatch, FakeDevice())
    place.trt.fails = fails
    with pytest.raises(EngineError, match=said):
        place.engine()
    assert place.device.clean


def test_host_code_is_allowed_only_where_the_record_says_so(place: Place) -> None:
    place.trt.host_code = True
    with pytest.raises(EngineError, match="carries host code, which is not allowed"):
        place.engine()
    with place.engine(host_code=True) as engine:
        assert engine.run(x(1), ["y"])["y"].tolist() == [3]


def test_kernels_that_rtx_does_not_give_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, FakeDevice())
    with place.engine() as engine:
        config = place.trt.contexts[0].config
        assert config is not None and engine.runtime_cache() == b"kernels"
        monkeypatch.setattr(config.cache, "serialize", lambda: None)
        assert engine.runtime_cache() == b""


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


def test_no_room_for_a_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, FakeDevice(Faults(allocation=3)))
    with place.engine() as engine:
        with pytest.raises(DeviceMemoryError, match="no room for 4 bytes"):
            engine.run(x(1), ["y"])
        assert engine.run(x(1), ["y"])["y"].tolist() == [3]


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


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_a_missing_tensorrt_names_the_install_line(
    flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, flavour, None)
    with pytest.raises(EngineError, match=r"pip install 'foveate\["):
        PlanEngine(b"", PlanFacts(flavour, "1", BUILD), FakeDevice())


def test_a_plan_of_another_maker_is_refused() -> None:
    with pytest.raises(EngineError, match='the plan is for "trt"; expected one of tensorrt, tenso'):
        PlanEngine(b"", PlanFacts("trt", "1", BUILD), FakeDevice())


def test_the_demo_bundle_through_the_ring_gives_onnx_runtime_s_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sizes change from run to run; three are under way at a time."""
    bundle = open_bundle(DEMO)
    dice = np.random.default_rng(5)
    images = [
        feed(dice.integers(0, 65536, (1 + n % 2, 90 + 7 * n, 120), np.uint16)) for n in range(3)
    ]
    place = Place(monkeypatch, FakeDevice())
    place.take([{"image": ((1, 1, 1, 2), (1, 256, 256, 2), (8, 2048, 2048, 2))}])
    with place.engine(bundle.graph("fp32"), slots=3) as engine, Cascade.load(DEMO) as reference:
        check_signature(engine, bundle.spec, DEMO)
        tickets = [engine.submit({"image": image}, ["mask", "box"]) for image in images]
        for image, ticket in zip(images, tickets, strict=True):
            wanted = reference.engine.run({"image": image}, ["mask", "box"])
            found = ticket.result().outputs
            np.testing.assert_array_equal(found["mask"], wanted["mask"])
            np.testing.assert_array_equal(found["box"], wanted["box"])
    assert place.device.clean
