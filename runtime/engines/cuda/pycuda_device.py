"""A GPU by way of pycuda: the ``Device`` of ``foveate.runtime.engines.cuda.device``.

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

from foveate.runtime.engines.cuda.bound_driver import BoundDriver
from foveate.runtime.engines.cuda.device import Bytes, MemoryInfo, Stream
from foveate.runtime.engines.cuda.driver_errors import translate_driver_errors
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.errors import EngineError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream."""
_contexts: dict[int, Any] = {}
_contexts_lock = threading.Lock()
_pushed = threading.local()


class CudaDevice:
    """The GPU of an index. Its primary context, shared with TensorRT, is kept until the end.

    Captured graphs, foreign streams and foreign pointers go through cuda-bindings, for which pycuda
    has no words.
    """

    def __init__(self, index: int = 0) -> None:
        self.driver = _driver()
        self.name, self.index = f"GPU {index}", index
        self.memory_error, self.error = self.driver.MemoryError, self.driver.Error
        with translate_driver_errors(self, "opening it"):
            device = _device(self.driver, index)
            self._context = _primary_context(self.driver, device, index)
            found = gpu(index)
            self.name, self.sm = found.name, found.sm
            integrated = self.driver.device_attribute.INTEGRATED
            self.integrated = bool(device.get_attribute(integrated))
        bindings = _bindings()
        self._bound = None if bindings is None else BoundDriver(bindings, self.name)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current on this thread; it may be nested."""
        _pushed.depth = _depth() + 1
        try:
            with translate_driver_errors(self, "making its context current"):
                self._context.push()
        except EngineError:
            _pushed.depth -= 1
            raise
        try:
            yield
        finally:
            _pushed.depth -= 1
            with translate_driver_errors(self, "leaving its context"):
                self.driver.Context.pop()

    def memory(self) -> MemoryInfo:
        with translate_driver_errors(self, "asking for its free memory"):
            return MemoryInfo(*self.driver.mem_get_info())

    def host_buffer(self, nbytes: int) -> CudaHostBuffer:
        return CudaHostBuffer(self, nbytes)

    def device_buffer(self, nbytes: int) -> CudaDeviceBuffer:
        return CudaDeviceBuffer(self, nbytes)

    def stream(self) -> CudaStream:
        return CudaStream(self)

    def event(self, spin: bool) -> CudaEvent:
        return CudaEvent(self, spin)

    def gpu_of(self, address: int) -> int | None:
        """Return the number of the GPU that holds an address, or None where no GPU does."""
        return self.bound().gpu_of(address)

    def bound(self) -> BoundDriver:
        """Return the driver by way of cuda-bindings; EngineError where they are missing."""
        if self._bound is None:
            raise EngineError("arrays on the GPU need cuda-bindings: pip install 'foveate[cuda]'")
        return self._bound

    def capture(self, stream: Stream, work: Callable[[], None]) -> CudaGraph | None:
        """Return the graph of what ``work`` enqueues; None without cuda-bindings or if refused."""
        if self._bound is None:
            return None
        held = self._bound.captured(stream.handle, work)
        return None if held is None else CudaGraph(self, self._bound, held)


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
        with translate_driver_errors(
            device, f"{nbytes} bytes of page-locked host memory", on_host=True
        ):
            self._held = device.driver.pagelocked_empty(nbytes, np.uint8, mem_flags=mode)
        where = (self._held.ctypes.data, False)
        self.__array_interface__ = {
            "version": 3,
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": where,
        }

    def device_address(self) -> int:
        with translate_driver_errors(self._device, "mapping host memory"):
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
        with translate_driver_errors(device, f"{nbytes} bytes of GPU memory"):
            self._held = device.driver.mem_alloc(nbytes)
        self.address, self.nbytes = int(self._held), nbytes


class CudaStream(_Held):
    """A stream that does not wait for the default stream."""

    def __init__(self, device: CudaDevice) -> None:
        super().__init__(device)
        with translate_driver_errors(device, "a stream"):
            self._held = device.driver.Stream(NON_BLOCKING)
        self.handle = int(self._held.handle)

    def to_device(self, address: int, source: Bytes) -> None:
        with translate_driver_errors(self._device, "a copy to the GPU"):
            self._device.driver.memcpy_htod_async(address, source, self._held)

    def to_host(self, target: Bytes, address: int) -> None:
        with translate_driver_errors(self._device, "a copy from the GPU"):
            self._device.driver.memcpy_dtoh_async(target, address, self._held)

    def within(self, target: int, source: int, nbytes: int) -> None:
        with translate_driver_errors(self._device, "a copy on the GPU"):
            self._device.driver.memcpy_dtod_async(target, source, nbytes, self._held)

    def follow(self, handle: int) -> None:
        self._device.bound().follow(self.handle, handle)

    def mark(self, event: Any) -> None:
        event.record(self._held)

    def wait(self) -> None:
        with translate_driver_errors(self._device, "the work of a stream"):
            self._held.synchronize()


class CudaEvent(_Held):
    """An event with its time. Where the driver itself prefers to sleep, ``spin`` cannot help."""

    def __init__(self, device: CudaDevice, spin: bool) -> None:
        super().__init__(device)
        flags = device.driver.event_flags
        with translate_driver_errors(device, "an event"):
            self._held = device.driver.Event(flags.DEFAULT if spin else flags.BLOCKING_SYNC)

    def record(self, stream: CudaStream) -> None:
        with translate_driver_errors(self._device, "recording an event"):
            stream.mark(self._held)

    def wait(self) -> None:
        with translate_driver_errors(self._device, "the work before an event"):
            self._held.synchronize()

    def elapsed_ms(self, since: CudaEvent) -> float:
        with translate_driver_errors(self._device, "timing an event"):
            return float(self._held.time_since(since._held))


class CudaGraph(_Held):
    """A captured graph, by way of cuda-bindings."""

    def __init__(self, device: CudaDevice, driver: BoundDriver, held: Any) -> None:
        super().__init__(device)
        self._driver, self._held = driver, held

    def launch(self, stream: Stream) -> None:
        self._driver.launch(self._held, stream.handle)

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with self._device.current():
                self._driver.destroy(held)


def gpu(index: int = 0) -> Gpu:
    """Return a GPU's name and compute capability; EngineError says what is missing.

    Makes no context, so it holds none of the GPU's memory.
    """
    device = _device(_driver(), index)
    return Gpu(str(device.name()), "sm{}{}".format(*device.compute_capability()))


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


def _bindings() -> Any:
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
