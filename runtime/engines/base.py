"""The interface of an engine: named arrays in, named arrays out, and close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from foveate.runtime.arrays import HOST, Array, Feed, GpuArray


@dataclass(frozen=True)
class TensorSpec:
    """The name, dtype and shape of a graph's input or output. A side is None if it may vary."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class RunTimes:
    """Where the time of a run went, in milliseconds.

    ``h2d_ms``: the copy into page-locked memory and, between two events, the copy to the device.
    ``execute_ms``: between two events. ``d2h_ms``: the copy from the device, and the one out of
    page-locked memory if a copy was requested. None of them includes waiting for other runs.
    ``replayed``: the execution replayed a captured graph.
    """

    h2d_ms: float
    execute_ms: float
    d2h_ms: float
    replayed: bool


@dataclass(frozen=True)
class RunOutputs:
    """The outputs of a run, and where its time went."""

    outputs: dict[str, Array]
    times: RunTimes


class Engine(Protocol):
    """Runs one fused graph. Safe to call from several threads."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs for the named inputs; only those are fetched."""
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


class Run(Protocol):
    """A run in flight."""

    def result(self, copy: bool = True, out: Mapping[str, Array] | None = None) -> RunOutputs:
        """Wait for the run and return its outputs; outputs named in ``out`` are written there.

        Without ``copy`` the arrays are views that a later run overwrites.
        """
        ...


@runtime_checkable
class FixedShapeEngine(Protocol):
    """An engine that is faster for shapes that it was compiled for apart."""

    def fix_shape(self, shape: tuple[int, ...]) -> None:
        """Compile for one shape of the input; it costs a second or two, and memory."""
        ...


@runtime_checkable
class AsyncEngine(Protocol):
    """An engine that keeps up to ``max_in_flight`` runs in flight."""

    @property
    def max_in_flight(self) -> int: ...

    def submit(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> Run:
        """Start a run; feeds on the host are copied before this returns.

        Outputs named in ``into`` are written there and are not in the result; such arrays, and
        feeds on the GPU, belong to the run until it is over.
        """
        ...

    def most_images(self, count: int, height: int, width: int) -> int:
        """Return how many of ``count`` images of a size one run may have; 0: no plan covers one."""
        ...
