"""The host memory that a session's inputs are read from and its outputs are written to."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.engines.cuda.device import Device, HostBuffer


class HostMemory(Protocol):
    """Memory of one run at a time; belongs to one thread while the run lasts."""

    def filled(self, name: str, values: Array) -> Array:
        """Return the values as a contiguous array that stays where it is during the run."""
        ...

    def empty(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """Return an array to be written by the run."""
        ...

    def own(self, array: Array) -> Array:
        """Return the caller's own array with what the run wrote."""
        ...

    def close(self) -> None: ...


class PlainMemory:
    """numpy's memory: nothing is copied, and nothing is kept from one run to the next."""

    def filled(self, name: str, values: Array) -> Array:
        return np.ascontiguousarray(values)

    def empty(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        return np.empty(tuple(shape), dtype)

    def own(self, array: Array) -> Array:
        return array

    def close(self) -> None:
        """Nothing is held."""


class PinnedMemory:
    """Page-locked memory of a device, one buffer a tensor, kept and used again.

    A GPU copies from and to such memory by itself, at the full rate of the bus; what is elsewhere
    the driver copies through page-locked memory of its own. A buffer grows when a larger run
    comes and is given back by ``close``, or when the memory is forgotten.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[str, HostBuffer] = {}

    def filled(self, name: str, values: Array) -> Array:
        array = self.empty(name, values.shape, values.dtype)
        array[...] = values
        return array

    def empty(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        nbytes = prod(shape) * dtype.itemsize
        return self._buffer(name, nbytes).array[:nbytes].view(dtype).reshape(tuple(shape))

    def own(self, array: Array) -> Array:
        return array.copy()

    def close(self) -> None:
        with self._device.current():
            while self._buffers:
                self._buffers.popitem()[1].close()

    def _buffer(self, name: str, nbytes: int) -> HostBuffer:
        found = self._buffers.get(name)
        if found is not None and len(found.array) >= nbytes:
            return found
        with self._device.current():
            if found is not None:
                self._buffers.pop(name).close()
            made = self._buffers[name] = self._device.host_buffer(max(1, nbytes))
        return made
