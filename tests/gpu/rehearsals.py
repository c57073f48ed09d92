"""Rehearsals of the CUDA device with real pycuda, run by ``tests/gpu/test_cuda.py``.

With a stand-in for the driver first on LD_LIBRARY_PATH they run without a GPU: that rehearses our
code and pycuda's rules and proves nothing about a GPU.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime

from foveate.runtime.arrays import feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.cuda import pycuda_device as cuda
from foveate.runtime.engines.cuda.device import Stream
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice
from foveate.runtime.engines.host_memory import PinnedMemory
from foveate.runtime.engines.onnxruntime import BoundSession, session_options
from foveate.runtime.engines.onnxruntime_cuda import host_memory
from foveate.runtime.engines.tensorrt.executor import Tensor
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings, SlotRing
from foveate.runtime.errors import DeviceMemoryError, EngineError
from foveate.train.data.phantom import PhantomSettings, phantoms
from tests.conftest import DEMO

DISCOVERY = "GPU device discovery failed"
"""ONNX Runtime says so on import in virtual machines, in which /sys has no card."""
KEPT: list[object] = []
"""What is still there when the process ends."""


class Doubling:
    """An executor without a kernel: y is x, copied on the device's stream by way of the host."""

    capturable = True

    def __init__(self, device: CudaDevice) -> None:
        self._device = device

    def outputs_for(self, inputs: Mapping[str, Tensor], stream: Stream) -> dict[str, Tensor]:
        return {"y": inputs["x"]}

    def enqueue(self, addresses: Mapping[str, int], stream: Any) -> None:
        stream.within(addresses["y"], addresses["x"], 4000)

    def close(self) -> None: ...


def round_trip(device: CudaDevice) -> None:
    """Bytes go to the device and come back, with events in order."""
    stream, events = device.stream(), [device.event(spin) for spin in (True, False)]
    there, back = device.host_buffer(1000), device.host_buffer(1000)
    memory = device.device_buffer(1000)
    there.array[:] = np.arange(1000) % 251
    events[0].record(stream)
    stream.to_device(memory.address, there.array)
    stream.to_host(back.array, memory.address)
    events[1].record(stream)
    events[1].wait()
    stream.wait()
    assert events[1].elapsed_ms(events[0]) >= 0
    np.testing.assert_array_equal(back.array, there.array)
    assert device.memory().free_bytes > 0 and device.sm.startswith("sm")


def every_order_of_closing() -> None:
    device = CudaDevice()
    for order in itertools.permutations(range(4)):
        with device.current():
            parts = [device.host_buffer(10), device.device_buffer(10)]
            parts += [device.stream(), device.event(True)]  # type: ignore[list-item]
        for index in order:
            parts[index].close()
            parts[index].close()


def opened_on_a_thread_that_is_gone() -> None:
    parts: list[Any] = []

    def make() -> None:
        device = CudaDevice()
        with device.current():
            parts.extend([device, device.device_buffer(10), device.stream(), device.event(False)])

    for target in (make, lambda: parts[1].close()):
        worker = threading.Thread(target=target)
        worker.start()
        worker.join()
    with parts[0].current():
        round_trip(parts[0])
    for part in parts[2:]:
        part.close()


def left_open_at_exit() -> None:
    device = CudaDevice()
    with device.current():
        KEPT.extend([device.host_buffer(10), device.device_buffer(10), device.stream()])
        KEPT.append(device.event(True))


def exit_inside_the_guard() -> None:
    device = CudaDevice()
    with device.current():
        KEPT.append(device.device_buffer(10))
        sys.exit(0)


def interrupted_after_the_push() -> None:
    """As if Ctrl-C came between the push and the body of the ``with``."""
    device = CudaDevice()
    cuda._pushed.depth = 1
    device._context.push()
    KEPT.append(device)


def view_outlives_its_buffer() -> None:
    device = CudaDevice()
    with device.current():
        buffer = device.host_buffer(10)
    buffer.array[:] = 7
    views = [buffer.array[2:]]
    buffer.close()
    del buffer
    gc.collect()
    assert views[0].tolist() == [7] * 8
    worker = threading.Thread(target=views.clear)
    worker.start()
    worker.join()


class Poor:
    """A driver that has no room."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def mem_alloc(self, nbytes: int) -> None:
        raise self._driver.MemoryError("cuMemAlloc failed: out of memory")


def no_room() -> None:
    device = CudaDevice()
    device.driver = Poor(device.driver)
    with device.current():
        try:
            device.device_buffer(123)
        except DeviceMemoryError as error:
            text = str(error)
    assert "has no memory for 123 bytes of GPU memory" in text and "MiB are free" in text, text


def no_such_gpu() -> None:
    try:
        CudaDevice(99)
    except EngineError as error:
        assert "there is no GPU 99" in str(error), error
    else:
        raise AssertionError


def a_call_without_a_context() -> None:
    try:
        CudaDevice().stream()
    except EngineError as error:
        assert "a stream failed" in str(error), error
    else:
        raise AssertionError


def ring_on(device: CudaDevice) -> None:
    for settings in (RingSettings(3), LATENCY):
        with SlotRing(device, lambda: Doubling(device), settings) as ring:
            tickets = []
            for value in range(12):
                tickets.append(ring.submit({"x": np.full(1000, value, np.float32)}, ["y"]))
            for value, ticket in enumerate(tickets):
                assert ticket.result().outputs["y"].tolist() == [value] * 1000


def ring() -> None:
    ring_on(CudaDevice())


def graphs_or_plain() -> None:
    """Where capture is refused, or cuda-bindings missing, runs go on plainly."""
    device = CudaDevice()
    for bound in (device._bound, None):
        device._bound = bound
        ring_on(device)


class Foreign:
    """Somebody's image in memory of the GPU, written by a stream of theirs."""

    def __init__(self, buffer: Any, shape: tuple[int, ...], typestr: str, stream: Any) -> None:
        self._buffer = buffer
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (buffer.address, False),
            "version": 3,
            "stream": stream.handle,
        }


def bound_session() -> None:
    """ONNX Runtime on the CPU reads from pycuda's page-locked memory and writes to it."""
    graph = open_bundle(DEMO).graph("fp32")
    image = next(iter(phantoms(PhantomSettings(1, 200, seed=1, bits=16)))).image
    feeds = {"image": feed(image[None])}
    session = onnxruntime.InferenceSession(
        graph, session_options(1), providers=["CPUExecutionProvider"], enable_fallback=0
    )
    with Cascade.load(DEMO, "onnxruntime") as cascade:
        expected = cascade.engine.run(feeds, ["mask"])["mask"]
    bound = BoundSession(session, host_memory())
    for _ in range(2):
        found = bound.run(feeds, ["mask"])["mask"]
        assert expected.any() and np.array_equal(found, expected)
    assert isinstance(bound._free[0], PinnedMemory)
    KEPT.append(bound)


REHEARSALS: dict[str, Callable[[], None]] = {
    made.__name__: made
    for made in (
        every_order_of_closing, opened_on_a_thread_that_is_gone, left_open_at_exit,
        exit_inside_the_guard, interrupted_after_the_push, view_outlives_its_buffer, no_room,
        no_such_gpu, a_call_without_a_context, ring, graphs_or_plain, bound_session,
    )
}  # fmt: skip
