"""A device of host memory, to test the ring without a GPU. It is a fake, and no evidence of one.

It stands in for OUR interface (``foveate.runtime.engines.cuda.device``), not for CUDA or pycuda:
streams are threads with queues, so copies and executions really happen later and concurrently;
memory is numpy; what CUDA leaves undefined (using freed memory, a call with no context
current) fails here. What it cannot show: real timing, real drivers, real races in hardware.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.runtime.engines.cuda.device import Bytes, MemoryInfo
from foveate.runtime.engines.tensorrt.executor import Tensor
from foveate.runtime.errors import DeviceMemoryError, EngineError

Work = Callable[[], None]


@dataclass
class Faults:
    """What goes wrong, counted from 1 over the life of the device."""

    allocation: int = 0
    copy: int = 0
    execution: int = 0
    close: int = 0
    capture: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> int:
        """Return how often something was done."""
        return self._counts.get(what, 0)

    def due(self, what: str) -> bool:
        self._counts[what] = self._counts.get(what, 0) + 1
        return self._counts[what] == getattr(self, what)


class FakeDevice:
    """``journal`` lists (stream, what, "begin" or "end") as it happens.

    ``elsewhere`` are addresses of other GPUs, with their numbers; ``followers`` the threads that
    made a stream follow another one.
    """

    name = "fake device"
    sm = "sm00"
    index = 0

    def __init__(
        self,
        faults: Faults | None = None,
        mapped: bool = False,
        graphs: bool = False,
        pause: Work = lambda: None,
    ) -> None:
        self.faults = faults or Faults()
        self.mapped, self.graphs, self.pause = mapped, graphs, pause
        self.journal: list[tuple[int, str, str]] = []
        self.allocations = 0
        self.live: dict[int, Bytes] = {}
        self.refuse_graphs = False
        self.elsewhere: dict[int, int] = {}
        self.open: set[object] = set()
        self.streams: list[FakeStream] = []
        self.followers: list[int] = []
        self._depth = threading.local()
        self._next = 4096
        self.lock = threading.Lock()

    @contextmanager
    def current(self) -> Iterator[None]:
        self._depth.n = getattr(self._depth, "n", 0) + 1
        try:
            yield
        finally:
            self._depth.n -= 1

    def check(self) -> None:
        """Fail where CUDA would fail, or worse, not fail."""
        assert getattr(self._depth, "n", 0) > 0, "no context is current on this thread"

    def memory(self) -> MemoryInfo:
        self.check()
        return MemoryInfo(1 << 30, 1 << 31)

    def allocate(self, nbytes: int) -> tuple[int, Bytes]:
        self.check()
        with self.lock:
            if self.faults.due("allocation"):
                raise DeviceMemoryError(f"fake device has no room for {nbytes} bytes")
            self.allocations += 1
            address, self._next = self._next, self._next + nbytes + 4096
            self.live[address] = np.full(nbytes, 0xAB, np.uint8)
            return address, self.live[address]

    def free(self, address: int) -> None:
        self.check()
        with self.lock:
            del self.live[address]
            if self.faults.due("close"):
                raise EngineError("fake device: freeing failed")

    def at(self, address: int, nbytes: int) -> Bytes:
        """Return live device memory; a freed or foreign address fails."""
        for start, memory in list(self.live.items()):
            if start <= address < start + len(memory):
                found = memory[address - start :][:nbytes]
                assert len(found) == nbytes, f"{nbytes} bytes in a buffer of {len(memory)}"
                return found
        raise AssertionError(f"{address} is not an address of the device")

    def gpu_of(self, address: int) -> int | None:
        if address in self.elsewhere:
            return self.elsewhere[address]
        return 0 if address in self.live else None

    def host_buffer(self, nbytes: int) -> FakeHostBuffer:
        return FakeHostBuffer(self, nbytes)

    def device_buffer(self, nbytes: int) -> FakeDeviceBuffer:
        return FakeDeviceBuffer(self, nbytes)

    def stream(self) -> FakeStream:
        return FakeStream(self)

    def event(self, spin: bool) -> FakeEvent:
        return FakeEvent(self, spin)

    def capture(self, stream: FakeStream, work: Work) -> FakeGraph | None:
        if not self.graphs:
            return None
        self.faults.due("capture")
        stream.captured = []
        work()
        captured, stream.captured = stream.captured, None
        if self.refuse_graphs:
            return None
        return FakeGraph(self, captured)

    @property
    def clean(self) -> bool:
        """Whether everything that was made has been closed."""
        return not self.live and not self.open


class FakeGpuArray:
    """Another library's array in the fake device's memory, by the interface of CUDA arrays.

    ``changed`` are parts of the interface that are not as usual.
    """

    def __init__(self, device: FakeDevice, values: npt.NDArray[Any], stream: int | None) -> None:
        self._device, self._values, self._stream = device, values, stream
        self.changed: dict[str, Any] = {}
        with device.current():
            self.address, memory = device.allocate(values.nbytes)
        memory[:] = np.frombuffer(values.tobytes(), np.uint8)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self._values.shape,
            "typestr": self._values.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "stream": self._stream,
            **self.changed,
        }

    def on_host(self) -> npt.NDArray[Any]:
        memory = self._device.at(self.address, self._values.nbytes)
        return memory.copy().view(self._values.dtype).reshape(self._values.shape)

    def free(self) -> None:
        with self._device.current():
            self._device.free(self.address)


class FakeHostBuffer:
    def __init__(self, device: FakeDevice, nbytes: int) -> None:
        self._device = device
        self._at, self.array = device.allocate(nbytes)
        self.address = self._at if device.mapped else None

    def close(self) -> None:
        if len(self.array):
            self.array = np.empty(0, np.uint8)
            self._device.free(self._at)


class FakeDeviceBuffer:
    def __init__(self, device: FakeDevice, nbytes: int) -> None:
        self._device, self.nbytes, self._open = device, nbytes, True
        self.address, _ = device.allocate(nbytes)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._device.free(self.address)


class FakeStream:
    """A thread that does what is queued; after a failure the rest is passed over until a wait."""

    def __init__(self, device: FakeDevice) -> None:
        device.check()
        self.device, self.handle = device, len(device.streams)
        self.captured: list[tuple[str, Work]] | None = None
        self.error: Exception | None = None
        self._queue: queue.SimpleQueue[tuple[str, Work] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"fake-stream-{self.handle}")
        self._thread.start()
        device.streams.append(self)
        device.open.add(self)

    def put(self, what: str, work: Work) -> None:
        self.device.check()
        if self.captured is not None:
            self.captured.append((what, work))
        else:
            self._queue.put((what, work))

    def to_device(self, address: int, source: Bytes) -> None:
        self._copy("h2d", lambda: np.copyto(self.device.at(address, len(source)), source))

    def to_host(self, target: Bytes, address: int) -> None:
        self._copy("d2h", lambda: np.copyto(target, self.device.at(address, len(target))))

    def within(self, target: int, source: int, nbytes: int) -> None:
        def work() -> None:
            np.copyto(self.device.at(target, nbytes), self.device.at(source, nbytes))

        self._copy("d2d", work)

    def follow(self, handle: int) -> None:
        """Wait in the stream until another one has passed what it holds now."""
        self.device.followers.append(threading.get_ident())
        passed = threading.Event()
        self.device.streams[handle].put("", passed.set)
        self.put("", passed.wait)

    def _copy(self, what: str, work: Work) -> None:
        if self.device.faults.due("copy"):
            raise EngineError("fake device: a copy failed")
        self.put(what, work)

    def wait(self) -> None:
        passed = threading.Event()
        self.put("", passed.set)
        passed.wait()
        error, self.error = self.error, None
        if error is not None:
            raise EngineError(str(error)) from error

    def close(self) -> None:
        if self in self.device.open:
            self.device.check()
            self.device.open.discard(self)
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            what, work = item
            if not what:
                work()
            elif self.error is None:
                self._do(what, work)

    def _do(self, what: str, work: Work) -> None:
        self.device.journal.append((self.handle, what, "begin"))
        try:
            self.device.pause()
            work()
        except Exception as error:
            self.error = error
        self.device.journal.append((self.handle, what, "end"))


class FakeEvent:
    def __init__(self, device: FakeDevice, spin: bool) -> None:
        device.check()
        self._device, self.spin = device, spin
        self._passed = threading.Event()
        self._error: Exception | None = None
        self._at_s = 0.0
        device.open.add(self)

    def record(self, stream: FakeStream) -> None:
        assert stream.captured is None, "events are not part of a captured execution"
        passed = self._passed = threading.Event()

        def pass_mark() -> None:
            self._at_s, self._error = time.perf_counter(), stream.error
            passed.set()

        stream.put("", pass_mark)

    def wait(self) -> None:
        self._device.check()
        self._passed.wait()
        if self._error is not None:
            raise EngineError(f"fake device: {self._error}")

    def elapsed_ms(self, since: FakeEvent) -> float:
        self._device.check()
        return 1000 * (self._at_s - since._at_s)

    def close(self) -> None:
        self._device.check()
        self._device.open.discard(self)


class FakeGraph:
    def __init__(self, device: FakeDevice, work: list[tuple[str, Work]]) -> None:
        self._device, self._work = device, work
        device.open.add(self)

    def launch(self, stream: FakeStream) -> None:
        for _, work in self._work:
            stream.put("replay", work)

    def close(self) -> None:
        self._device.check()
        self._device.open.discard(self)


class FakeExecutor:
    """y = 2x + 1 and z = -x on float32 vectors of 1 to ``largest`` numbers."""

    capturable = True

    def __init__(self, device: FakeDevice, largest: int = 1 << 20, inside: Work = lambda: None):
        self._device, self._largest, self._inside = device, largest, inside
        self._shape: tuple[int, ...] = ()
        self.enqueued = 0
        device.open.add(self)

    def outputs_for(self, inputs: Mapping[str, Tensor], stream: FakeStream) -> dict[str, Tensor]:
        self._shape = inputs["x"].shape
        if not 1 <= self._shape[0] <= self._largest:
            raise EngineError(f'input "x" is {self._shape[0]}; this takes 1 to {self._largest}')
        return {name: Tensor(self._shape, np.dtype(np.float32)) for name in "yz"}

    def enqueue(self, addresses: Mapping[str, int], stream: FakeStream) -> None:
        at, nbytes = dict(addresses), 4 * self._shape[0]
        failing = self._device.faults.due("execution")
        self.enqueued += 1

        def work() -> None:
            self._inside()
            if failing:
                raise RuntimeError("an execution failed")
            x = self._device.at(at["x"], nbytes).view(np.float32)
            self._device.at(at["y"], nbytes).view(np.float32)[:] = 2 * x + 1
            self._device.at(at["z"], nbytes).view(np.float32)[:] = -x

        stream.put("execute", work)

    def close(self) -> None:
        self._device.check()
        self._device.open.discard(self)
