"""A GPU by way of pycuda: the ``Device`` of ``foveate.runtime.device``.

Nothing else touches CUDA; ``gpu_query`` only asks the driver what is there.

pycuda is imported when a device is opened. Its objects must be freed while their context is current
on the thread that frees them, and a thread that ends with a context pushed aborts the process. So
each wrapper here makes the context current to free what it holds, on any thread and in any order,
also when it is only forgotten; and what an interrupted ``with`` left pushed is popped at exit.
"""

from __future__ import annotations

import atexit
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from foveate.runtime.cuda_bound import NON_BLOCKING, BoundDriver, BoundEvent, BoundStream
from foveate.runtime.device import Bytes, Event, MemoryInfo, Stream
from foveate.runtime.driver_errors import Doing
from foveate.runtime.errors import EngineError

_contexts: dict[int, Any] = {}
_contexts_lock = threading.Lock()
_pushed = threading.local()


class CudaDevice:
    """The GPU of an index. Its primary context, shared with TensorRT, is kept until the end.

    ``priority``: its streams go before others of the GPU, wherever a multiprocessor gets free. Its
    streams and events are those of cuda-bindings then: pycuda has no priorities.
    """

    def __init__(self, index: int = 0, priority: bool = False) -> None:
        self.driver = _driver()
        self._graphs = _graph_driver()
        self.name = f"GPU {index}"
        self.memory_error, self.error = self.driver.MemoryError, self.driver.Error
        with Doing(self, "opening it"):
            device = _device(self.driver, index)
            self._context = _primary_context(self.driver, device, index)
            self.name, self.sm = name_and_sm(index)
            integrated = self.driver.device_attribute.INTEGRATED
            self.integrated = bool(device.get_attribute(integrated))
        self._bound = BoundDriver(self._bindings(), self.name) if priority else None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current on this thread; it may be nested."""
        _pushed.depth = _depth() + 1
        try:
            with Doing(self, "making its context current"):
                self._context.push()
        except EngineError:
            _pushed.depth -= 1
            raise
        try:
            yield
        finally:
            self.driver.Context.pop()
            _pushed.depth -= 1

    def memory(self) -> MemoryInfo:
        with Doing(self, "asking for its free memory"):
            return MemoryInfo(*self.driver.mem_get_info())

    def host_buffer(self, nbytes: int) -> CudaHostBuffer:
        return CudaHostBuffer(self, nbytes)

    def device_buffer(self, nbytes: int) -> CudaDeviceBuffer:
        return CudaDeviceBuffer(self, nbytes)

    def stream(self) -> Stream:
        return CudaStream(self) if self._bound is None else BoundStream(self, self._bound)

    def event(self, spin: bool) -> Event:
        return CudaEvent(self, spin) if self._bound is None else BoundEvent(self, self._bound, spin)

    def follow(self, mine: int, other: int) -> None:
        """Let a stream wait for what another one holds now; both by their handles."""
        driver = self._bound or BoundDriver(self._bindings(), self.name)
        driver.follow(mine, other)

    def _bindings(self) -> Any:
        if self._graphs is None:
            raise EngineError(
                "arrays on the GPU and streams of high priority need cuda-bindings: "
                "pip install 'foveate[cuda]'"
            )
        return self._graphs

    def capture(self, stream: Stream, work: Callable[[], None]) -> CudaGraph | None:
        """Return the graph of what ``work`` enqueues; None without cuda-bindings or if refused."""
        if self._graphs is None:
            return None
        handle = self._graphs.CUstream(stream.handle)
        mode = self._graphs.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        if int(self._graphs.cuStreamBeginCapture(handle, mode)[0]):
            return None
        try:
            work()
        except EngineError:
            self._graphs.cuStreamEndCapture(handle)
            return None
        status, graph = self._graphs.cuStreamEndCapture(handle)
        return None if int(status) else CudaGraph(self, self._graphs, graph)


class _Held:
    """What holds one object of pycuda, and lets go of it with the context current."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._held: Any = None

    def close(self) -> None:
        if self._held is not None:
            with self._device.current():
                self._held = None

    def __del__(self) -> None:
        self.close()


class _Pinned(_Held):
    """Page-locked bytes as the base of numpy arrays: freed when the last of them is gone."""

    def __init__(self, device: CudaDevice, nbytes: int) -> None:
        super().__init__(device)
        flags = device.driver.host_alloc_flags
        mode = int(flags.DEVICEMAP) if device.integrated else 0
        with Doing(device, f"{nbytes} bytes of page-locked host memory"):
            self._held = device.driver.pagelocked_empty(nbytes, np.uint8, mem_flags=mode)
        where = (self._held.ctypes.data, False)
        self.__array_interface__ = {
            "version": 3,
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": where,
        }

    def device_address(self) -> int:
        with Doing(self._device, "mapping host memory"):
            return int(self._held.base.get_device_pointer())


class CudaHostBuffer:
    """Page-locked memory; on an integrated GPU also mapped into its address space."""

    def __init__(self, device: CudaDevice, nbytes: int) -> None:
        pinned = _Pinned(device, nbytes)
        self.address = pinned.device_address() if device.integrated else None
        self.array: Bytes = np.asarray(pinned)

    def close(self) -> None:
        self.array, self.address = np.empty(0, np.uint8), None


class CudaDeviceBuffer(_Held):
    """Memory of the GPU."""

    def __init__(self, device: CudaDevice, nbytes: int) -> None:
        super().__init__(device)
        with Doing(device, f"{nbytes} bytes of GPU memory"):
            self._held = device.driver.mem_alloc(nbytes)
        self.address, self.nbytes = int(self._held), nbytes


class CudaStream(_Held):
    """A stream that does not wait for the default stream."""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        with Doing(device, "a stream"):
            self._held = device.driver.Stream(NON_BLOCKING)
        self.handle = int(self._held.handle)

    def to_device(self, address: int, source: Bytes) -> None:
        with Doing(self._device, "a copy to the GPU"):
            self._device.driver.memcpy_htod_async(address, source, self._held)

    def to_host(self, target: Bytes, address: int) -> None:
        with Doing(self._device, "a copy from the GPU"):
            self._device.driver.memcpy_dtoh_async(target, address, self._held)

    def within(self, target: int, source: int, nbytes: int) -> None:
        with Doing(self._device, "a copy on the GPU"):
            self._device.driver.memcpy_dtod_async(target, source, nbytes, self._held)

    def follow(self, handle: int) -> None:
        self._device.follow(self.handle, handle)

    def mark(self, event: Any) -> None:
        event.record(self._held)

    def wait(self) -> None:
        with Doing(self._device, "the work of a stream"):
            self._held.synchronize()


class CudaEvent(_Held):
    """An event with its time. Where the driver itself prefers to sleep, ``spin`` cannot help."""

    def __init__(self, device: CudaDevice, spin: bool) -> None:
        super().__init__(device)
        flags = device.driver.event_flags
        with Doing(device, "an event"):
            self._held = device.driver.Event(flags.DEFAULT if spin else flags.BLOCKING_SYNC)

    def record(self, stream: CudaStream) -> None:
        with Doing(self._device, "recording an event"):
            stream.mark(self._held)

    def wait(self) -> None:
        with Doing(self._device, "the work before an event"):
            self._held.synchronize()

    def elapsed_ms(self, since: CudaEvent) -> float:
        with Doing(self._device, "timing an event"):
            return float(self._held.time_since(since._held))


class CudaGraph(_Held):
    """A captured graph, by way of cuda-bindings: pycuda has none."""

    def __init__(self, device: CudaDevice, graphs: Any, graph: Any) -> None:
        super().__init__(device)
        self._graphs = graphs
        status, made = graphs.cuGraphInstantiate(graph, 0)
        graphs.cuGraphDestroy(graph)
        self._check(status)
        self._held = made

    def launch(self, stream: CudaStream) -> None:
        self._check(self._graphs.cuGraphLaunch(self._held, self._graphs.CUstream(stream.handle))[0])

    def _check(self, status: Any) -> None:
        if int(status):
            raise EngineError(f"{self._device.name}: a CUDA graph failed: {status.name}")

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with self._device.current():
                self._graphs.cuGraphExecDestroy(held)


def open_gpu(priority: bool) -> CudaDevice:
    """Return the first GPU, its streams of high priority if so wished."""
    return CudaDevice(priority=priority)


def name_and_sm(index: int = 0) -> tuple[str, str]:
    """Return a GPU's name and compute capability, sm86 for example; makes no context."""
    device = _device(_driver(), index)
    return str(device.name()), "sm{}{}".format(*device.compute_capability())


def _driver() -> Any:
    """Return pycuda's driver module, ready to use."""
    try:
        driver = importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise EngineError(
            f"pycuda cannot be loaded ({error}): it needs the NVIDIA driver, and "
            "pip install 'foveate[cuda]', as docs/install.md says"
        ) from None
    try:
        driver.init()
    except driver.Error as error:
        raise EngineError(f"the NVIDIA driver finds no GPU ({error}); try nvidia-smi") from error
    return driver


def _graph_driver() -> Any:
    """Return the driver of cuda-bindings, or None where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError:
        return None


def _device(driver: Any, index: int) -> Any:
    count = driver.Device.count()
    if not 0 <= index < count:
        raise EngineError(f"there is no GPU {index}; the NVIDIA driver finds {count}")
    return driver.Device(index)


def _primary_context(driver: Any, device: Any, index: int) -> Any:
    """Return a device's primary context, retained once a process."""
    with _contexts_lock:
        if index not in _contexts:
            _contexts[index] = device.retain_primary_context()
            atexit.register(_pop_all, driver)
        return _contexts[index]


def _depth() -> int:
    """Return how often contexts were pushed on this thread and not yet popped."""
    return int(getattr(_pushed, "depth", 0))


def _pop_all(driver: Any) -> None:
    """Pop what an interrupted ``with`` left on this thread."""
    for _ in range(_depth()):
        with suppress(driver.Error):
            driver.Context.pop()
