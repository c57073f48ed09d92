"""What the runtime wants of a GPU, and no more: memory, streams, events, copies.

``foveate.runtime.engines.cuda.pycuda_device`` provides it with pycuda; the tests provide it in
host memory. Nothing here touches CUDA. Every call on what a device made must happen inside ``with
device.current():`` on the calling thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MemoryInfo:
    """Total and free memory of a device, in bytes."""

    free_bytes: int
    total_bytes: int


class HostBuffer(Protocol):
    """Host memory that a device copies to and from without the CPU.

    ``array`` is (nbytes,) uint8. Where the device shares its memory with the CPU (Jetson),
    ``address`` is where the device sees the same bytes and no copy is needed; else None. After
    ``close`` the memory lives until the last view of ``array`` is gone.
    """

    array: Bytes
    address: int | None

    def close(self) -> None: ...


class DeviceBuffer(Protocol):
    """Device memory at ``address``. ``close`` may be called again."""

    address: int
    nbytes: int

    def close(self) -> None: ...


class Event(Protocol):
    """A mark in a stream, with its time."""

    def record(self, stream: Any) -> None:
        """Put the mark behind what the stream holds now."""
        ...

    def wait(self) -> None:
        """Return when the mark was passed; EngineError when what came before it failed."""
        ...

    def elapsed_ms(self, since: Any) -> float:
        """Return the milliseconds from another mark to this one; both have been passed."""
        ...

    def close(self) -> None: ...


class Stream(Protocol):
    """Work done in order, concurrently with other streams.

    Copies return at once. Neither side of a copy may be touched before the stream has passed it.
    """

    handle: int

    def to_device(self, address: int, source: Bytes) -> None: ...

    def to_host(self, target: Bytes, address: int) -> None: ...

    def within(self, target: int, source: int, nbytes: int) -> None:
        """Copy from one address of the device to another."""
        ...

    def follow(self, handle: int) -> None:
        """Go on only when the stream of somebody else has passed what it holds now."""
        ...

    def wait(self) -> None:
        """Return when the stream is empty; EngineError when any of its work failed."""
        ...

    def close(self) -> None: ...


class Graph(Protocol):
    """Work of a stream that was recorded once and is repeated with one call."""

    def launch(self, stream: Any) -> None: ...

    def close(self) -> None: ...


class Device(Protocol):
    """One GPU, ``index`` as CUDA counts them. What it makes belongs to it and is closed before it.

    Running out of memory raises DeviceMemoryError, anything else the driver refuses EngineError.
    """

    name: str
    sm: str
    index: int

    def current(self) -> AbstractContextManager[None]:
        """Return a guard that makes the device current on this thread; it may be nested."""
        ...

    def memory(self) -> MemoryInfo: ...

    def gpu_of(self, address: int) -> int | None:
        """Return the number of the GPU that holds an address, or None where no GPU does."""
        ...

    def host_buffer(self, nbytes: int) -> HostBuffer: ...

    def device_buffer(self, nbytes: int) -> DeviceBuffer: ...

    def stream(self) -> Stream: ...

    def event(self, spin: bool) -> Event:
        """Return an event; waiting for it keeps a core busy with ``spin`` and sleeps without."""
        ...

    def capture(self, stream: Any, work: Callable[[], None]) -> Graph | None:
        """Return what ``work`` puts into the stream as a graph, without running it.

        None where this installation or this work cannot be captured; nothing has run then.
        """
        ...
