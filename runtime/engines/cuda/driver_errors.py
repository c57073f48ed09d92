"""Translate errors of the CUDA driver into errors that a user can fix."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Protocol

from foveate.runtime.engines.cuda.device import MemoryInfo
from foveate.runtime.errors import DeviceMemoryError, EngineError

BROKEN = {700, 702, 710, *range(714, 720), 999}
"""Driver statuses after which every further call of the process fails too."""
BROKEN_WORDS = re.compile(
    "illegal memory access|launch timed out|device-side assert|hardware stack error"
    "|illegal instruction|misaligned address|invalid program counter"
    "|not supported on global/shared address space|unspecified launch failure|unknown error"
)
"""The same as texts of cuGetErrorString, which is all that pycuda reports."""


class DriverDevice(Protocol):
    """A device whose driver raises ``error``, or ``memory_error`` when out of memory."""

    name: str
    error: type[Exception]
    memory_error: type[Exception]

    def memory(self) -> MemoryInfo: ...


class translate_driver_errors:
    """Context manager that turns driver exceptions into EngineError with the failed action.

    A class rather than a generator, which takes three times as long: it guards every driver call.
    """

    __slots__ = ("_device", "_on_host", "_what")

    def __init__(self, device: DriverDevice, what: str, on_host: bool = False) -> None:
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
                f"the driver has no memory for {self._what}. Use a smaller batch or smaller "
                "images, or raise the limit of locked memory (ulimit -l)"
            ) from error
        if isinstance(error, device.memory_error):
            memory = device.memory()
            raise DeviceMemoryError(
                f"{device.name} has no memory for {self._what}: {memory.free_bytes >> 20} of its "
                f"{memory.total_bytes >> 20} MiB are free. Use a smaller batch or smaller images, "
                "or stop other processes on the GPU"
            ) from error
        if isinstance(error, device.error):
            raise EngineError(
                f"{device.name}: {self._what} failed: {error}{restart_advice(str(error))}"
            ) from error


def restart_advice(status: int | str) -> str:
    """Return the advice for an error that breaks the process's context, or an empty text.

    ``status`` is the driver's number or its text.
    """
    broken = status in BROKEN if isinstance(status, int) else BROKEN_WORDS.search(status)
    return ". The GPU's context is permanently broken: restart the process" if broken else ""
