"""What a driver refuses, as errors a user can mend."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Protocol

from foveate.runtime.engines.cuda.device import MemoryInfo
from foveate.runtime.errors import DeviceMemoryError, EngineError

BROKEN = {700, 702, 710, *range(714, 720), 999}
"""Statuses of the driver after which every further call of the process fails too."""
BROKEN_WORDS = re.compile(
    "illegal memory access|launch timed out|device-side assert|hardware stack error"
    "|illegal instruction|misaligned address|invalid program counter"
    "|not supported on global/shared address space|unspecified launch failure|unknown error"
)
"""The same in the words of cuGetErrorString, which is all that pycuda tells."""


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

    __slots__ = ("_device", "_on_host", "_what")

    def __init__(self, device: Driven, what: str, on_host: bool = False) -> None:
        self._device, self._what, self._on_host = device, what, on_host

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        device = self._device
        if isinstance(error, device.memory_error) and self._on_host:
            raise DeviceMemoryError(
                f"the driver has no room for {self._what}. Use a smaller batch or smaller images, "
                "or raise what the system lets this process lock (ulimit -l)"
            ) from error
        if isinstance(error, device.memory_error):
            memory = device.memory()
            raise DeviceMemoryError(
                f"{device.name} has no room for {self._what}: {memory.free_bytes >> 20} of its "
                f"{memory.total_bytes >> 20} MiB are free. Use a smaller batch or smaller images, "
                "or end what else uses the GPU"
            ) from error
        if isinstance(error, device.error):
            raise EngineError(
                f"{device.name}: {self._what} failed: {error}{restart_advice(str(error))}"
            ) from error


def restart_advice(status: int | str) -> str:
    """Return what to do after an error that breaks the process's context, or an empty text.

    ``status`` is the driver's number or its words.
    """
    broken = status in BROKEN if isinstance(status, int) else BROKEN_WORDS.search(status)
    return ". The GPU's context is broken for good: restart the process" if broken else ""
