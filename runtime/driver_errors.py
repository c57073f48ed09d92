"""What a driver refuses, as errors a user can mend."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from foveate.runtime.device import MemoryInfo
from foveate.runtime.errors import DeviceMemoryError, EngineError


class Driven(Protocol):
    """A device whose driver raises ``error``, and ``memory_error`` when there is no room."""

    name: str
    error: type[Exception]
    memory_error: type[Exception]

    def memory(self) -> MemoryInfo: ...


class Doing:
    """A guard: what the driver raises inside becomes EngineError, and says what was being done.

    A class and not a generator: it stands around every call of the driver, and costs a third.
    """

    __slots__ = ("_device", "_what")

    def __init__(self, device: Driven, what: str) -> None:
        self._device, self._what = device, what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        device = self._device
        if isinstance(error, device.memory_error):
            memory = device.memory()
            raise DeviceMemoryError(
                f"{device.name} has no room for {self._what}: {memory.free_bytes >> 20} of its "
                f"{memory.total_bytes >> 20} MiB are free. Use a smaller batch or smaller images, "
                "or end what else uses the GPU"
            ) from error
        if isinstance(error, device.error):
            raise EngineError(f"{device.name}: {self._what} failed: {error}") from error
