"""What an engine is: named arrays in, named arrays out, and an end to its life."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from foveate.runtime.gpu_array import GpuArray

if TYPE_CHECKING:
    from foveate.runtime.ticket import Ticket

Array = npt.NDArray[Any]
Feed = Array | Sequence[Array] | GpuArray
"""An array, the images that together are one batch of it, all of one shape, or one on the GPU."""
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


HOST: Mapping[str, GpuArray] = MappingProxyType({})
"""No output stays on the GPU."""


@dataclass(frozen=True)
class TensorSpec:
    """What a graph says of an input or output. A side is None where it may be any."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Engine(Protocol):
    """Runs one fused graph. Safe to call from several threads."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs for the named inputs; only those asked for are fetched."""
        ...

    def close(self) -> None:
        """Free what the engine holds; calling it again does nothing."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Submitting(Protocol):
    """An engine that keeps several runs under way, as many as ``ahead``."""

    @property
    def ahead(self) -> int: ...

    def submit(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> Ticket:
        """Return the ticket of a run; feeds on the host are copied before this returns.

        Outputs named in ``into`` are written there and are not among those of the ticket; such
        arrays, and feeds on the GPU, belong to the run until it is over.
        """
        ...

    def most_images(self, count: int, height: int, width: int) -> int:
        """Return how many of ``count`` images of a size one run may have; 0: no plan takes any."""
        ...


def feed(pixels: Pixels) -> Array:
    """Return (N, H, W) pixels as the graph takes them, without a copy.

    uint8 as they are; uint16 as its little-endian bytes, (N, H, W, 2) uint8.
    """
    if pixels.dtype == np.uint8:
        return pixels
    little = np.ascontiguousarray(pixels.astype("<u2", copy=False))
    return little.view(np.uint8).reshape(*pixels.shape, 2)


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
