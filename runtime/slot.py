"""A slot: the memory, stream, events and executor of one run at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress

import numpy as np

from foveate.runtime.device import Bytes, Device, DeviceBuffer, Graph, HostBuffer
from foveate.runtime.engines.base import HOST, Array, Feed
from foveate.runtime.errors import EngineError
from foveate.runtime.executor import Executor, Tensor, tensor_of
from foveate.runtime.gpu_array import GpuArray
from foveate.runtime.ticket import Finished, StageTimes, Ticket

CLOSED = "this engine has been closed; load the bundle again"


class Slot:
    """One run at a time; a second thread waits for the first to have its run in the stream.

    Images are copied into page-locked memory by the thread that brings them, beside those of other
    slots; what goes to the device is put there under ``enqueueing``, one slot at a time. Memory
    grows when a larger run comes and is never given back before ``close``. On a device that shares
    its memory with the CPU nothing is copied to it. What is on the device already is copied there,
    from and to arrays that the slot keeps until the run is over.
    """

    def __init__(
        self, device: Device, executor: Executor, spin: bool, enqueueing: threading.Lock
    ) -> None:
        self._device, self._executor = device, executor
        self._busy, self._enqueueing = threading.Lock(), enqueueing
        self._closed = False
        self._filled_ms = 0.0
        self._ticket: Ticket | None = None
        self._pinned: dict[str, HostBuffer] = {}
        self._memory: dict[str, DeviceBuffer] = {}
        self._key: object = None
        self._graph: Graph | None = None
        self._capturable = executor.capturable
        self._fetched: dict[str, Tensor] = {}
        self._lent: tuple[Mapping[str, GpuArray], Mapping[str, GpuArray]] = (HOST, HOST)
        self._replayed = False
        with ExitStack() as made:
            made.callback(executor.close)
            made.callback(self._free)
            self._stream = device.stream()
            made.callback(self._stream.close)
            self._marks = []
            for _ in range(4):
                self._marks.append(device.event(spin))
                made.callback(self._marks[-1].close)
            self._made = made.pop_all()

    def start(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> Ticket:
        """Return the ticket of a run that was put into the stream, or that failed to get there."""
        with self._busy, self._device.current():
            if self._closed:
                raise EngineError(CLOSED)
            self._leave()
            self._ticket = ticket = Ticket(self)
            try:
                self._enqueue(feeds, outputs, into)
            except Exception as error:
                self._recover()
                ticket.fail(error)
            except BaseException:
                self._ticket = None
                self._recover()
                raise
            return ticket

    def collect(self) -> Finished:
        """Return the views of the run's outputs once it is over."""
        started, fed, executed, fetched = self._marks
        with self._device.current():
            try:
                fetched.wait()
                times = StageTimes(
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
        views = {name: _view(self._pinned[name], kind) for name, kind in self._fetched.items()}
        return Finished(views, times)

    def close(self) -> None:
        """Wait for the run in the slot and free everything, also what comes after a failure."""
        with self._busy:
            self._closed = True
            with self._device.current(), self._made:
                self._leave()

    def _leave(self) -> None:
        """Wait for the run in the slot, if there is one; its ticket keeps the result."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.leave()

    def _enqueue(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray]
    ) -> None:
        given = {name: v for name, v in feeds.items() if isinstance(v, GpuArray)}
        inputs = {name: tensor_of(value) for name, value in feeds.items()}
        with self._enqueueing:
            found = self._executor.outputs_for(inputs, self._stream)
            self._fetched = {name: found[name] for name in outputs if name not in into}
            pinned = (feeds.keys() - given.keys()) | self._fetched.keys()
            addresses = {
                name: self._address(name, kind, name in pinned)
                for name, kind in (inputs | found).items()
            }
        self._fill(feeds, inputs)
        self._lent = (given, into)
        with self._enqueueing:
            self._put(inputs, addresses)

    def _fill(self, feeds: Mapping[str, Feed], inputs: Mapping[str, Tensor]) -> None:
        """Copy what was given into page-locked memory; images of a batch row by row."""
        started = time.perf_counter()
        for name, value in feeds.items():
            if isinstance(value, GpuArray):
                continue
            target = _view(self._pinned[name], inputs[name])
            if isinstance(value, np.ndarray):
                np.copyto(target, value)
                continue
            for row, part in zip(target, value, strict=True):
                np.copyto(row, part)
        self._filled_ms = 1000 * (time.perf_counter() - started)

    def _put(self, inputs: Mapping[str, Tensor], addresses: Mapping[str, int]) -> None:
        """Put copies in, execution and copies out into the stream, with marks between."""
        started, fed, executed, fetched = self._marks
        given, into = self._lent
        started.record(self._stream)
        for name, source in given.items():
            self._follow(source)
            self._stream.within(addresses[name], source.address, source.nbytes)
        for name in self._copied([name for name in inputs if name not in given]):
            self._stream.to_device(addresses[name], self._bytes(name, inputs[name]))
        fed.record(self._stream)
        self._execute(addresses, (tuple(inputs.items()), tuple(addresses.items())))
        executed.record(self._stream)
        for name in self._copied(self._fetched):
            self._stream.to_host(self._bytes(name, self._fetched[name]), addresses[name])
        for name, target in into.items():
            self._follow(target)
            self._stream.within(target.address, addresses[name], target.nbytes)
        fetched.record(self._stream)

    def _follow(self, array: GpuArray) -> None:
        if array.producer is not None:
            self._stream.follow(array.producer)

    def _execute(self, addresses: Mapping[str, int], key: object) -> None:
        """Run the executor: plainly the first time, captured the second, replayed from then on.

        The first run of a shape lets an engine settle what a graph must not contain.
        """
        again = key == self._key
        if not again:
            self._drop_graph()
        elif self._graph is None and self._capturable:
            self._graph = self._device.capture(
                self._stream, lambda: self._executor.enqueue(addresses, self._stream)
            )
            self._capturable = self._graph is not None
        self._replayed = self._graph is not None
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._executor.enqueue(addresses, self._stream)
        self._key = key

    def _address(self, name: str, kind: Tensor, pinned: bool) -> int:
        """Return where the device finds a tensor, growing what is too small."""
        if pinned:
            host = self._pinned.get(name)
            if host is None or len(host.array) < kind.nbytes:
                if host is not None:
                    self._pinned.pop(name).close()
                host = self._pinned[name] = self._device.host_buffer(kind.nbytes)
            if host.address is not None:
                return host.address
        held = self._memory.get(name)
        if held is None or held.nbytes < kind.nbytes:
            if held is not None:
                self._memory.pop(name).close()
            held = self._memory[name] = self._device.device_buffer(kind.nbytes)
        return held.address

    def _copied(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._pinned[name].address is None]

    def _bytes(self, name: str, kind: Tensor) -> Bytes:
        return self._pinned[name].array[: kind.nbytes]

    def _recover(self) -> None:
        """Wait until nothing of a failed run is under way, so that the next one starts afresh."""
        with suppress(EngineError):  # the failure itself is what is raised
            self._stream.wait()
        self._drop_graph()

    def _drop_graph(self) -> None:
        graph, self._graph, self._key = self._graph, None, None
        if graph is not None:
            graph.close()

    def _free(self) -> None:
        with ExitStack() as parts:
            for host in self._pinned.values():
                parts.callback(host.close)
            for memory in self._memory.values():
                parts.callback(memory.close)
            parts.callback(self._drop_graph)
            self._pinned, self._memory = {}, {}


def _view(buffer: HostBuffer, kind: Tensor) -> Array:
    """Return the bytes of a buffer as a tensor, without a copy."""
    view: Array = buffer.array[: kind.nbytes].view(kind.dtype).reshape(kind.shape)
    return view
