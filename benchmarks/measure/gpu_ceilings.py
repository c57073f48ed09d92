"""What a plan and its GPU allow with nothing of the cascade around them: the ceilings of a rate.

Lanes are streams with an execution context and buffers of their own. *Enqueue only*: the input
lies on the device and executions are put into the streams back to back. *With transfers*:
page-locked input to the device, execution, the fetched outputs to page-locked memory. The host
neither reads nor writes, and waits only after the last run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from foveate.benchmarks.measure.baseline import OUTPUTS, ready
from foveate.benchmarks.measure.timing import interleaved, ratio, seconds_of
from foveate.runtime.agreement import BOUNDS, compare_masks
from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.cuda.device import Device, DeviceBuffer, Graph, HostBuffer, Stream
from foveate.runtime.engines.tensorrt.engine import TensorRTEngine, facts_of, read_kernels
from foveate.runtime.engines.tensorrt.executor import Executor, Tensor
from foveate.runtime.engines.tensorrt.plan import Plan
from foveate.runtime.engines.tensorrt.slot_ring import RingSettings

IMAGE = "image"
CASCADE = "cascade"
TRANSFERS, ENQUEUE, ENQUEUE_ALL = "with_transfers", "enqueue_one_stream", "enqueue_all_streams"
WINDOWS = 5
PAUSE_S = 0.005
LANES = RingSettings().slots
TRIAL = 2 * LANES
"""Runs before a measurement, twice: to warm up, and to find how many fill a window."""


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


class Ceilings(Closeable):
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
        """Execute ``runs`` times, alternating between the first lanes; return the images."""
        used = self._lanes[:lanes]
        with self._device.current():
            for number in range(runs):
                used[number % len(used)].execute()
            _wait(used)
        return runs * self.images

    def transfer(self, runs: int) -> int:
        """Copy in, execute and copy out ``runs`` times, alternating between all lanes."""
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


Side = Callable[[int], object]
"""Called with a number of runs, each of one batch."""


def ceiling_rows(
    cascade: Cascade, images: Sequence[Pixels], batches: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Return a row for every batch size of a cascade on TensorRT, as JSON values."""
    return [_row(cascade, images, batch, seconds) for batch in batches]


def _row(cascade: Cascade, images: Sequence[Pixels], batch: int, seconds: float) -> dict[str, Any]:
    some = [images[index % len(images)] for index in range(batch)]
    engine = cascade.engine
    assert isinstance(engine, TensorRTEngine)
    with ExitStack() as stack:
        image = ready(some, cascade.spec.input_kind)
        stack.enter_context(engine.device.current())
        plan = open_plan(engine, image)
        stack.callback(plan.close)
        ceilings = stack.enter_context(Ceilings(engine.device, plan, image, LANES))
        rates = side_rates(sides(cascade, ceilings, some), batch, seconds)
        ceilings.transfer(LANES)
        masks = np.stack([found.mask for found in cascade.batch(some)])
        # the cascade may run a batch in parts, with other kernels than those of the whole
        pair = compare_masks("", ceilings.output("mask"), masks, box_moved=False)
    height, width = some[0].shape[:2]
    return {
        "variant": f"{engine.name} {cascade.choice.precision}",
        "batch": batch,
        "height": height,
        "width": width,
        "lanes": LANES,
        **rates,
        "disagreement": pair.disagreement,
        "disagreement_bound": BOUNDS[cascade.choice.precision][0],
    }


def open_plan(engine: TensorRTEngine, image: Array) -> Plan:
    """Return the plan that an engine takes for a batch, loaded once more; PlanError without one."""
    source = engine.source
    shape: Any = image.shape[:3]
    record = engine.record_for(shape)
    facts = facts_of(record, source.query.bundle)
    content = source.cache.read(record, source.query.bundle)
    return Plan(content, facts, read_kernels(source.cache, record))


def sides(cascade: Cascade, ceilings: Ceilings, images: Sequence[Pixels]) -> dict[str, Side]:
    """Return what is timed, by name; one image is streamed, more are batches."""
    ours = (
        partial(_streamed, cascade, images[0])
        if len(images) == 1
        else partial(_batched, cascade, images)
    )
    return {
        CASCADE: ours,
        TRANSFERS: ceilings.transfer,
        ENQUEUE: ceilings.enqueue,
        ENQUEUE_ALL: partial(ceilings.enqueue, lanes=LANES),
    }


def side_rates(sides: Mapping[str, Side], batch: int, seconds: float) -> dict[str, Any]:
    """Return images per second of every side, and ours over the ceiling with transfers."""
    for side in sides.values():
        side(TRIAL)
    trial = min(seconds_of(partial(side, TRIAL)) for side in sides.values()) / TRIAL
    runs = max(1, round(seconds / (len(sides) * WINDOWS) / trial))
    calls = {name: partial(_window, side, runs) for name, side in sides.items()}
    times = interleaved(calls, WINDOWS, pause_s=PAUSE_S)
    return {
        "runs": runs,
        "images_per_second": {
            name: float(runs * batch / np.median(taken)) for name, taken in times.items()
        },
        "of_ceiling": asdict(ratio(times[TRANSFERS], times[CASCADE])),
    }


def _window(side: Side, runs: int, number: int) -> None:
    side(runs)


def _streamed(cascade: Cascade, image: Pixels, runs: int) -> None:
    for _ in cascade.stream(repeat(image, runs), copy=False):
        pass


def _batched(cascade: Cascade, images: Sequence[Pixels], runs: int) -> None:
    for _ in range(runs):
        cascade.batch(images)
