"""What a plan and its GPU allow with nothing of the cascade around them: the ceilings of a rate.

Lanes are streams with an execution context and buffers of their own. *Enqueue only*: the input
lies on the device and executions are put into the streams back to back. *With transfers*:
page-locked input to the device, execution, the fetched outputs to page-locked memory. The host
neither reads nor writes, and waits only after the last run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from foveate.benchmarks.measure.baseline import OUTPUTS
from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.cuda.device import Device, DeviceBuffer, Graph, HostBuffer, Stream
from foveate.runtime.engines.tensorrt.executor import Executor, Tensor
from foveate.runtime.engines.tensorrt.plan import Plan

IMAGE = "image"


@dataclass
class Lane:
    """One stream's executor and memory. Page-locked memory that the device sees is not copied."""

    stream: Stream
    executor: Executor
    shapes: dict[str, Tensor]
    addresses: dict[str, int]
    pinned: dict[str, HostBuffer]
    graph: Graph | None = None

    def feed(self) -> None:
        """Put the copy of the input into the stream."""
        self._copy((IMAGE,), to_host=False)

    def execute(self) -> None:
        """Put one execution into the stream."""
        if self.graph is not None:
            self.graph.launch(self.stream)
        else:
            self.executor.enqueue(self.addresses, self.stream)

    def fetch(self) -> None:
        """Put the copies of the outputs into the stream."""
        self._copy(OUTPUTS, to_host=True)

    def output(self, name: str) -> Array:
        """Return what was fetched last."""
        kind = self.shapes[name]
        found: Array = self.pinned[name].array[: kind.nbytes].view(kind.dtype)
        return found.reshape(kind.shape).copy()

    def _copy(self, names: Sequence[str], to_host: bool) -> None:
        for name in names:
            host, address = self.pinned[name], self.addresses[name]
            if host.address is not None:
                continue
            if to_host:
                self.stream.to_host(host.array, address)
            else:
                self.stream.to_device(address, host.array)


class Ceilings(Closing):
    """Lanes of a plan for one input. Everything is called by one thread."""

    def __init__(self, device: Device, plan: Plan, image: Array, lanes: int) -> None:
        self._device = device
        self.images = len(image)
        self._lanes: list[Lane] = []
        with ExitStack() as made, device.current():
            for _ in range(lanes):
                self._lanes.append(_lane(device, plan.executor(device), image, made))
            self._made = made.pop_all()

    def enqueue(self, runs: int, lanes: int = 1) -> int:
        """Execute so many times on the first lanes by turns; return the images of it."""
        used = self._lanes[:lanes]
        with self._device.current():
            for number in range(runs):
                used[number % len(used)].execute()
            _wait(used)
        return runs * self.images

    def transfer(self, runs: int) -> int:
        """Copy in, execute and copy out so many times on all lanes by turns."""
        with self._device.current():
            for number in range(runs):
                lane = self._lanes[number % len(self._lanes)]
                lane.feed()
                lane.execute()
                lane.fetch()
            _wait(self._lanes)
        return runs * self.images

    def output(self, name: str) -> Array:
        """Return the first lane's output of its last run with transfers."""
        return self._lanes[0].output(name)

    def close(self) -> None:
        """Free the lanes; the plan is closed after them."""
        with self._device.current():
            self._made.close()


def _wait(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.stream.wait()


def _lane(device: Device, executor: Executor, image: Array, made: ExitStack) -> Lane:
    """Return a lane that has run once, captured where the runtime would capture it."""
    made.callback(executor.close)
    stream = device.stream()
    made.callback(stream.close)
    inputs = {IMAGE: Tensor(image.shape, image.dtype)}
    shapes = inputs | executor.outputs_for(inputs, stream)
    pinned: dict[str, HostBuffer] = {}
    addresses: dict[str, int] = {}
    for name, kind in shapes.items():
        if name in (IMAGE, *OUTPUTS):
            pinned[name] = device.host_buffer(kind.nbytes)
            made.callback(pinned[name].close)
        mapped = pinned[name].address if name in pinned else None
        addresses[name] = mapped if mapped is not None else _memory(device, kind, made).address
    lane = Lane(stream, executor, shapes, addresses, pinned)
    pinned[IMAGE].array[:] = np.frombuffer(image.tobytes(), np.uint8)
    lane.feed()
    lane.execute()
    stream.wait()
    if executor.capturable:
        lane.graph = device.capture(stream, lane.execute)
        if lane.graph is not None:
            made.callback(lane.graph.close)
    return lane


def _memory(device: Device, kind: Tensor, made: ExitStack) -> DeviceBuffer:
    buffer = device.device_buffer(kind.nbytes)
    made.callback(buffer.close)
    return buffer
