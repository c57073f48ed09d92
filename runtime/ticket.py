"""A run that was submitted, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from foveate.runtime.engines.base import Array
from foveate.runtime.errors import EngineError


@dataclass(frozen=True)
class StageTimes:
    """Where the time of a run went, in milliseconds.

    ``h2d_ms``: the copy into page-locked memory and, between two events, the copy to the device.
    ``execute_ms``: between two events. ``d2h_ms``: the copy from the device, and the one out of
    page-locked memory where a copy was asked for. Waiting for other runs is in none of them.
    ``replayed``: the execution was the replay of a captured graph.
    """

    h2d_ms: float
    execute_ms: float
    d2h_ms: float
    replayed: bool


@dataclass(frozen=True)
class Finished:
    """The outputs that were asked for, and where the time went."""

    outputs: dict[str, Array]
    times: StageTimes


class Source(Protocol):
    """Where a ticket gets its result from."""

    def collect(self) -> Finished:
        """Return views of the outputs once the run is over; EngineError when it failed."""
        ...


class Ticket:
    """A run that was submitted. ``result`` may be called from any thread, and again."""

    def __init__(self, slot: Source) -> None:
        self._slot: Source | None = slot
        self._lock = threading.Lock()
        self._finished: Finished | None = None
        self._error: Exception | None = None
        self._lent = False

    def result(self, copy: bool = True, out: Mapping[str, Array] | None = None) -> Finished:
        """Return what came of the run, waiting for it; its error is raised here.

        With ``copy`` the arrays are the caller's. Without, they are views of page-locked memory,
        valid until the slot is used again: that is when as many runs as the ring has slots have
        been submitted after this one, or the ring is closed. An output named in ``out`` is written
        there in place of an array of its own.
        """
        with self._lock:
            self._settle()
            if copy or out:
                self._own(out or {})
            self._lent = self._lent or self._slot is not None
            if self._error is not None:
                raise self._error
            if self._finished is None:
                raise EngineError(
                    "these result views have expired: a later run reused their buffer. "
                    "Call result(copy=True)"
                )
            return self._finished

    def leave(self) -> None:
        """Let go of the slot once the run is over, keeping what nobody has taken yet."""
        with self._lock:
            self._settle()
            if self._lent and self._slot is not None:
                self._slot, self._finished = None, None
            try:
                self._own({})
            except MemoryError as error:  # it is this run's, not the next one's
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the run with an error; the slot is free."""
        self._slot, self._error = None, error

    def _settle(self) -> None:
        """Wait for the run, once."""
        if self._slot is None or self._finished is not None:
            return
        try:
            self._finished = self._slot.collect()
        except EngineError as error:
            self.fail(error)

    def _own(self, out: Mapping[str, Array]) -> None:
        """Turn the views into arrays that live on; the slot is no longer needed."""
        if self._finished is None or (self._slot is None and not out):
            return
        started, found = time.perf_counter(), self._finished
        copies = {}
        for name, array in found.outputs.items():
            if name in out:
                np.copyto(out[name], array)
                copies[name] = out[name]
            else:
                copies[name] = array if self._slot is None else array.copy()
        spent_ms = 1000 * (time.perf_counter() - started)
        times = replace(found.times, d2h_ms=found.times.d2h_ms + spent_ms)
        self._slot, self._finished = None, Finished(copies, times)
