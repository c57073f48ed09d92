"""A submitted run and its outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.engines.base import RunOutputs
from foveate.runtime.errors import EngineError


class RunSlot(Protocol):
    """The slot that a run is in."""

    def collect(self) -> RunOutputs:
        """Return views of the outputs once the run is over; EngineError if it failed."""
        ...


class PendingRun:
    """A submitted run. ``result`` may be called from any thread, repeatedly."""

    def __init__(self, slot: RunSlot) -> None:
        self._slot: RunSlot | None = slot
        self._lock = threading.Lock()
        self._outputs: RunOutputs | None = None
        self._error: Exception | None = None
        self._viewed = False

    def result(self, copy: bool = True, out: Mapping[str, Array] | None = None) -> RunOutputs:
        """Wait for the run and return its outputs; its error is raised here.

        With ``copy`` the arrays belong to the caller. Without, they are views of page-locked
        memory, valid until the slot is reused: when as many runs as the ring has slots have been
        submitted after this one, or the ring is closed. Outputs named in ``out`` are written there.
        """
        with self._lock:
            self._wait()
            if copy or out:
                self._copy_out(out or {})
            self._viewed = self._viewed or self._slot is not None
            if self._error is not None:
                raise self._error
            if self._outputs is None:
                raise EngineError(
                    "these result views have expired: a later run reused their buffer. "
                    "Call result(copy=True)"
                )
            return self._outputs

    def release(self) -> None:
        """Free the slot once the run is over, keeping outputs that were not fetched yet."""
        with self._lock:
            self._wait()
            if self._viewed and self._slot is not None:
                self._slot, self._outputs = None, None
            try:
                self._copy_out({})
            except MemoryError as error:  # an error of this run, not of the next
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the run with an error; the slot is free."""
        self._slot, self._error = None, error

    def _wait(self) -> None:
        """Wait for the run, once."""
        if self._slot is None or self._outputs is not None:
            return
        try:
            self._outputs = self._slot.collect()
        except EngineError as error:
            self.fail(error)

    def _copy_out(self, out: Mapping[str, Array]) -> None:
        """Copy the views into arrays of their own; the slot is no longer needed."""
        if self._outputs is None or (self._slot is None and not out):
            return
        started, found = time.perf_counter(), self._outputs
        copies = {}
        for name, array in found.outputs.items():
            if name in out:
                np.copyto(out[name], array)
                copies[name] = out[name]
            else:
                copies[name] = array if self._slot is None else array.copy()
        spent_ms = 1000 * (time.perf_counter() - started)
        times = replace(found.times, d2h_ms=found.times.d2h_ms + spent_ms)
        self._slot, self._outputs = None, RunOutputs(copies, times)
