"""ONNX Runtime's CUDA provider without a GPU: it is refused by name, and never the CPU instead.

What binds inputs and outputs is run for real, over ONNX Runtime's CPU provider. ``tests/gpu`` has
the provider itself.
"""

from __future__ import annotations

import _ctypes
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.host_memory import HostMemory, PinnedMemory, PlainMemory
from foveate.runtime.engines.onnxruntime import BoundSession, OnnxRuntimeEngine, session_options
from foveate.runtime.engines.onnxruntime_cuda import (
    check_convolutions,
    has_provider,
    load_libraries,
)
from foveate.runtime.errors import EngineError, GraphError
from foveate.train.data.phantom import PhantomSettings, phantoms
from tests.conftest import DEMO
from tests.runtime.engines.cuda.fake_device import FakeDevice
from tests.runtime.engines.tiny_graphs import one_convolution, twice_as_long, two_outputs

CPU = "CPUExecutionProvider"
OUTPUTS = ["mask", "box", "score", "coarse", "refined"]


def cpu_session(graph: bytes) -> onnxruntime.InferenceSession:
    options = session_options(1)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return onnxruntime.InferenceSession(graph, options, providers=[CPU], enable_fallback=0)


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    made = FakeDevice()
    yield made
    assert made.clean, "page-locked memory is still held"


@pytest.fixture(params=["plain", "pinned"])
def memory(request: pytest.FixtureRequest, device: FakeDevice) -> Callable[[], HostMemory]:
    return PlainMemory if request.param == "plain" else partial(PinnedMemory, device)


needs_no_provider = pytest.mark.skipif(has_provider(), reason="this ONNX Runtime has CUDA")


@needs_no_provider
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_without_the_provider_it_is_refused_and_not_run_on_the_cpu(
    precision: str, bundle: Path
) -> None:
    said = r"onnxruntime-cuda engine .* without its CUDA provider: .*pip install 'foveate\[gpu\]'"
    with pytest.raises(EngineError, match=said):
        Cascade.load(bundle, "onnxruntime-cuda", precision)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nvidia_s_wheels_are_found_wherever_they_lie_on_sys_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any shared library does: what is shown is which files are loaded."""
    made = {}
    for place, name in (
        ("first/nvidia/cu13/lib", "libcublasLt.so.13"),
        ("second/nvidia/cu13/lib", "libcublasLt.so.13"),
        ("second/nvidia/cudnn/lib", "libcudnn.so.9"),
        ("second/nvidia/cublas/lib", "libcublas.so.12"),
        ("second/nvidia/curand/lib", "libcurand.so.10"),
        ("second/nvidia/nccl/lib", "libnccl.so.2"),
    ):
        path = tmp_path / place / name
        path.parent.mkdir(parents=True)
        made[place] = shutil.copy(_ctypes.__file__, path)
        monkeypatch.syspath_prepend(tmp_path / place.split("/")[0])

    def loaded(cuda: str) -> set[str]:
        monkeypatch.setattr(onnxruntime, "cuda_version", cuda, raising=False)
        load_libraries()
        maps = Path("/proc/self/maps").read_text()
        return {place for place, path in made.items() if str(path) in maps}

    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path])
    of_13 = {"first/nvidia/cu13/lib", "second/nvidia/cudnn/lib"}
    assert loaded("13.0") == of_13
    assert loaded("12.8") - of_13 == {"second/nvidia/cublas/lib", "second/nvidia/curand/lib"}


class TestBoundSession:
    def test_numbers_of_the_plain_engine(self, memory: Callable[[], HostMemory]) -> None:
        graph = open_bundle(DEMO).graph("fp32")
        with BoundSession(cpu_session(graph), memory) as bound, OnnxRuntimeEngine(graph) as plain:
            assert (bound.inputs, bound.outputs) == (plain.inputs, plain.outputs)
            for size in (200, 128):
                images = [p.image for p in phantoms(PhantomSettings(2, size, seed=size, bits=16))]
                feeds = {"image": feed(np.stack(images))}
                found, expected = bound.run(feeds, OUTPUTS), plain.run(feeds, OUTPUTS)
                assert expected["mask"].any()
                for name in OUTPUTS:
                    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
                    assert found[name].dtype == expected[name].dtype

    def test_a_length_known_only_after_the_run(self, memory: Callable[[], HostMemory]) -> None:
        x = np.array([4, 5], np.float32)
        with BoundSession(cpu_session(twice_as_long("M")), memory) as bound:
            first = bound.run({"x": x}, ["y"])["y"]
            bound.run({"x": -x}, ["y"])
        np.testing.assert_array_equal(first, [4, 5, 4, 5])

    def test_an_output_longer_than_the_graph_says_is_refused(
        self, memory: Callable[[], HostMemory]
    ) -> None:
        with BoundSession(cpu_session(twice_as_long("N")), memory) as bound:
            with pytest.raises(GraphError, match="cannot run the graph"):
                bound.run({"x": np.ones(2, np.float32)}, ["y"])

    def test_threads_get_their_own_results(self, memory: Callable[[], HostMemory]) -> None:
        found: dict[int, list[float]] = {}
        with BoundSession(cpu_session(two_outputs()), memory) as bound:

            def work(n: int) -> None:
                for length in (1, 1000, 10, 5000):
                    x = np.full(length, n, np.float32)
                    found.setdefault(n, []).extend(set(bound.run({"x": x}, ["y"])["y"].tolist()))

            workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        assert found == {n: [2.0 * n + 1] * 4 for n in range(8)}

    def test_wrong_names_types_and_shapes(self, memory: Callable[[], HostMemory]) -> None:
        x = np.ones(2, np.float32)
        with BoundSession(cpu_session(two_outputs()), memory) as bound:
            with pytest.raises(EngineError, match='no input "q"; the graph has x'):
                bound.run({"q": x}, ["y"])
            with pytest.raises(EngineError, match='no output "q"; the graph has y, z'):
                bound.run({"x": x}, ["q"])
            for feeds in ({}, {"x": x.astype(np.float64)}, {"x": x.reshape(1, 2)}):
                with pytest.raises(GraphError, match="cannot run the graph"):
                    bound.run(feeds, ["y"])
            np.testing.assert_array_equal(bound.run({"x": x}, ["y"])["y"], [3, 3])

    def test_page_locked_memory_is_used_again_and_grows(self, device: FakeDevice) -> None:
        with BoundSession(cpu_session(two_outputs()), partial(PinnedMemory, device)) as bound:
            for length in (10, 10, 5, 10):
                bound.run({"x": np.ones(length, np.float32)}, ["y"])
            assert device.allocations == 2
            bound.run({"x": np.ones(100, np.float32)}, ["y"])
            assert device.allocations == 4 and len(device.live) == 2


def test_convolutions_on_another_provider_are_refused() -> None:
    session = cpu_session(one_convolution())
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} does not tell where nodes run")
    check_convolutions(session, CPU)
    check_convolutions(cpu_session(two_outputs()))
    with pytest.raises(EngineError, match=f"put 1 convolutions .* on {CPU}; expected .* CUDA"):
        check_convolutions(session)
