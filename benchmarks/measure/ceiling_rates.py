"""Images per second of the cascade next to the ceilings of its TensorRT plan, batch by batch.

Every side does the same number of runs in a window. Windows of all sides follow each other in an
order drawn anew in each round, and a ratio is taken round by round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np

from foveate.benchmarks.measure.baseline import ready
from foveate.benchmarks.measure.gpu_ceilings import Ceilings
from foveate.benchmarks.measure.timing import interleaved, ratio, seconds_of
from foveate.runtime.agreement import BOUNDS, compare_masks
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import Array, Pixels
from foveate.runtime.engines.tensorrt.engine import PlannedEngine, facts_of, read_kernels
from foveate.runtime.engines.tensorrt.plan import Plan
from foveate.runtime.engines.tensorrt.slot_ring import RingSettings

CASCADE = "cascade"
TRANSFERS, ENQUEUE, ENQUEUE_ALL = "with_transfers", "enqueue_one_stream", "enqueue_all_streams"
LANES = RingSettings().slots
WINDOWS = 5
TRIAL = 2 * LANES
"""Runs before a measurement, twice: to warm up, and to find how many fill a window."""
PAUSE_S = 0.005
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
    assert isinstance(engine, PlannedEngine)
    with ExitStack() as stack:
        image = ready(some, cascade.spec.input_type)
        stack.enter_context(engine.device.current())
        plan = open_plan(engine, image)
        stack.callback(plan.close)
        ceilings = stack.enter_context(Ceilings(engine.device, plan, image, LANES))
        rates = side_rates(sides(cascade, ceilings, some), batch, seconds)
        ceilings.transfer(LANES)
        masks = np.stack([found.mask for found in cascade.batch(some)])
        # the cascade may run a batch in parts, with other kernels than those of the whole
        pair = compare_masks("", ceilings.output("mask"), masks, box_moved=False)
    height, width = some[0].shape
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


def open_plan(engine: PlannedEngine, image: Array) -> Plan:
    """Return the plan that an engine takes for a batch, loaded once more; PlanError without one."""
    source = engine.source
    shape: Any = image.shape[:3]
    record = engine.record_for(shape)
    facts = facts_of(record, source.wanted.bundle)
    content = source.cache.read(record, source.wanted.bundle)
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
