"""Streams and events by way of cuda-bindings: what pycuda has no words for.

The module itself is ``cuda``'s to load; here it is given.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from foveate.runtime.device import Bytes
from foveate.runtime.errors import EngineError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream."""
BLOCKING_SYNC, DISABLE_TIMING = 1, 2
"""CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING."""


class Context(Protocol):
    """What makes a device's context current."""

    def current(self) -> AbstractContextManager[None]: ...


class BoundDriver:
    """cuda-bindings' driver module; a status that is none of success is an EngineError."""

    def __init__(self, module: Any, gpu: str) -> None:
        self.module, self._gpu = module, gpu

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what a function of the driver gives beside its status."""
        status, *found = getattr(self.module, name)(*arguments)
        if int(status):
            raise EngineError(f"{self._gpu}: {name} failed: {status.name}")
        return found[0] if len(found) == 1 else found

    def follow(self, mine: int, other: int) -> None:
        """Let a stream wait for what another one holds now; both by their handles."""
        event = self.call("cuEventCreate", DISABLE_TIMING)
        try:
            self.call("cuEventRecord", event, self.module.CUstream(other))
            self.call("cuStreamWaitEvent", self.module.CUstream(mine), event, 0)
        finally:
            self.call("cuEventDestroy", event)  # the driver keeps it until it was passed


class _BoundHandle:
    """An object of the driver, given back with the context current, once."""

    _held: Any = None  # also where the driver has refused to make it

    def __init__(self, device: Context, driver: BoundDriver, made: Any, end: str) -> None:
        self._device, self._driver, self._end = device, driver, end
        self._held = made

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with self._device.current():
                self._driver.call(self._end, held)

    def __del__(self) -> None:
        with suppress(EngineError):
            self.close()


class BoundStream(_BoundHandle):
    """A stream of the highest priority that does not wait for the default stream.

    A priority is a hint for kernels that are not started yet; copies know none.
    """

    def __init__(self, device: Context, driver: BoundDriver) -> None:
        _, highest = driver.call("cuCtxGetStreamPriorityRange")
        made = driver.call("cuStreamCreateWithPriority", NON_BLOCKING, highest)
        super().__init__(device, driver, made, "cuStreamDestroy")
        self.handle = int(made)

    def to_device(self, address: int, source: Bytes) -> None:
        self._copy("cuMemcpyHtoDAsync", address, source.ctypes.data, source.nbytes)

    def to_host(self, target: Bytes, address: int) -> None:
        self._copy("cuMemcpyDtoHAsync", target.ctypes.data, address, target.nbytes)

    def within(self, target: int, source: int, nbytes: int) -> None:
        self._copy("cuMemcpyDtoDAsync", target, source, nbytes)

    def follow(self, handle: int) -> None:
        self._driver.follow(self.handle, handle)

    def mark(self, event: Any) -> None:
        self._driver.call("cuEventRecord", event, self._held)

    def wait(self) -> None:
        self._driver.call("cuStreamSynchronize", self._held)

    def _copy(self, name: str, target: int, source: int, nbytes: int) -> None:
        self._driver.call(name, target, source, nbytes, self._held)


class BoundEvent(_BoundHandle):
    """An event with its time, of such a stream."""

    def __init__(self, device: Context, driver: BoundDriver, spin: bool) -> None:
        made = driver.call("cuEventCreate", 0 if spin else BLOCKING_SYNC)
        super().__init__(device, driver, made, "cuEventDestroy")

    def record(self, stream: BoundStream) -> None:
        stream.mark(self._held)

    def wait(self) -> None:
        self._driver.call("cuEventSynchronize", self._held)

    def elapsed_ms(self, since: BoundEvent) -> float:
        return float(self._driver.call("cuEventElapsedTime", since._held, self._held))
