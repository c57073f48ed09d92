"""A slot: the memory, stream, events and execution contexts of one run at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from foveate.runtime.arrays import HOST, Array, Feed, GpuArray
from foveate.runtime.closeable import CLOSED
from foveate.runtime.engines.base import RunOutputs, RunTimes
from foveate.runtime.engines.cuda.device import Device
from foveate.runtime.engines.tensorrt.executor import Executor, Tensor, tensor_of
from foveate.runtime.engines.tensorrt.slot_contexts import SlotContext, SlotContexts
from foveate.runtime.engines.tensorrt.slot_memory import SlotMemory
from foveate.runtime.errors import DeviceMemoryError, EngineError


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


class Slot:
    """One run at a time; a second thread waits for the first to have its run in the stream.

    Images are copied into page-locked memory by the thread that brings them, at the same time as
    those of other slots; what goes to the device is put there under ``enqueueing``, one slot at a
    time. Memory grows when a larger run comes and is never given back before ``close``. What is on
    the device already is copied there, from and to arrays that the slot keeps until the run is
    over.
    """

    def __init__(
        self,
        device: Device,
        make_executor: Callable[[], Executor],
        spin: bool,
        enqueueing: threading.Lock,
    ) -> None:
        self._device = device
        self._busy, self._enqueueing = threading.Lock(), enqueueing
        self._closed = False
        self._filled_ms = 0.0
        self._run: PendingRun | None = None
        self._fetched: tuple[str, ...] = ()
        self._lent: tuple[Mapping[str, GpuArray], Mapping[str, GpuArray]] = (HOST, HOST)
        self._replayed = False
        with ExitStack() as made:
            self._contexts = SlotContexts(device, make_executor)
            made.callback(self._contexts.close)
            self._memory = SlotMemory(device)
            made.callback(self._memory.close)
            self._stream = device.stream()
            made.callback(self._stream.close)
            self._marks = []
            for _ in range(4):
                self._marks.append(device.event(spin))
                made.callback(self._marks[-1].close)
            self._made = made.pop_all()

    def start(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> PendingRun:
        """Return a run that was put into the stream, or that failed to get there."""
        with self._busy, self._device.current():
            if self._closed:
                raise EngineError(CLOSED)
            self._release()
            self._run = run = PendingRun(self)
            try:
                self._enqueue(feeds, outputs, into)
            except Exception as error:
                self._recover()
                run.fail(error)
            except BaseException:
                self._run = None
                self._recover()
                raise
            return run

    def collect(self) -> RunOutputs:
        """Return the views of the run's outputs once it is over."""
        started, fed, executed, fetched = self._marks
        with self._device.current():
            try:
                fetched.wait()
                times = RunTimes(
                    self._filled_ms + fed.elapsed_ms(started),
                    executed.elapsed_ms(fed),
                    fetched.elapsed_ms(executed),
                    self._replayed,
                )
            except EngineError:
                self._recover()
                raise
            finally:
                self._lent = (HOST, HOST)
        views = {name: self._memory.output_view(name) for name in self._fetched}
        return RunOutputs(views, times)

    def close(self) -> None:
        """Wait for the run in the slot and free everything, also what comes after a failure."""
        with self._busy:
            self._closed = True
            with self._device.current(), self._made:
                self._release()

    def _release(self) -> None:
        """Wait for the run in the slot, if there is one; its PendingRun keeps the result."""
        run, self._run = self._run, None
        if run is not None:
            run.release()

    def _enqueue(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray]
    ) -> None:
        given = {name: v for name, v in feeds.items() if isinstance(v, GpuArray)}
        inputs = {name: tensor_of(value) for name, value in feeds.items()}
        self._fetched = tuple(name for name in outputs if name not in into)
        with self._enqueueing:
            context = self._contexts.take(inputs)
            found = context.executor.outputs_for(inputs, self._stream)
            place = partial(
                self._memory.place, inputs, feeds.keys() - given.keys(), found, self._fetched
            )
            try:
                addresses = place()
            except DeviceMemoryError:
                if not self._contexts.keep_only(context):
                    raise
                addresses = place()
        self._fill(feeds, inputs)
        self._lent = (given, into)
        with self._enqueueing:
            self._put(context, inputs, addresses)

    def _fill(self, feeds: Mapping[str, Feed], inputs: Mapping[str, Tensor]) -> None:
        """Copy what was given into page-locked memory; images of a batch row by row."""
        started = time.perf_counter()
        for name, value in feeds.items():
            if isinstance(value, GpuArray):
                continue
            target = self._memory.input_view(name, inputs[name])
            if isinstance(value, np.ndarray):
                np.copyto(target, value)
                continue
            for row, part in zip(target, value, strict=True):
                np.copyto(row, part)
        self._filled_ms = 1000 * (time.perf_counter() - started)

    def _put(
        self, context: SlotContext, inputs: Mapping[str, Tensor], addresses: Mapping[str, int]
    ) -> None:
        """Put copies in, execution and copies out into the stream, with marks between."""
        started, fed, executed, fetched = self._marks
        given, into = self._lent
        started.record(self._stream)
        for name, source in given.items():
            self._follow(source)
            self._stream.within(addresses[name], source.address, source.nbytes)
        for name, kind in inputs.items():
            if name not in given:
                self._memory.copy_in(self._stream, name, kind, addresses[name])
        fed.record(self._stream)
        self._replayed = context.run(addresses, self._stream)
        executed.record(self._stream)
        self._memory.copy_out(self._stream, self._fetched)
        for name, target in into.items():
            self._follow(target)
            self._stream.within(target.address, addresses[name], target.nbytes)
        fetched.record(self._stream)

    def _follow(self, array: GpuArray) -> None:
        if array.producer is not None:
            self._stream.follow(array.producer)

    def _recover(self) -> None:
        """Wait until nothing of a failed run is under way, so that the next one starts afresh."""
        with suppress(EngineError):  # the failure itself is what is raised
            self._stream.wait()
        self._contexts.forget()
