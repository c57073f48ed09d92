"""Images per second from host arrays to host masks by batch, beside the ceilings of the plan.

Every side does the same number of runs in a window; windows of all sides follow each other in an
order drawn anew, and a ratio is taken window by window.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from foveate.benchmarks.gpu.bench import RING, SLOTS, TRANSFERS, Bench, Side, open_bench
from foveate.benchmarks.gpu.latency_step import stage_medians
from foveate.benchmarks.gpu.references import ReferenceSet, judged
from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.parity import cascade_segment
from foveate.benchmarks.timing import interleaved, ratio, seconds_of
from foveate.runtime.cascade import Cascade
from foveate.runtime.engines.base import Pixels

CASCADE = "cascade"
PAUSE_S = 0.005


def run(task: Task) -> None:
    """Measure every batch size; what was found so far is kept after each."""
    part, rows = task.reference_set(), []
    expected = part.load()
    pixels = [item.case.image for item in expected]
    with Cascade.load(part.bundle.path, task.engine, task.precision) as cascade:
        segment = cascade_segment(cascade)
        task.keep({"parity": judged(segment, expected, task.precision, part.reference)})
        for batch in task.arguments["batches"]:
            images = [pixels[index % len(pixels)] for index in range(batch)]
            rows.append(_row(task, part, cascade, images))
            task.keep({"rows": rows})
            task.say(f"batch {batch}: {rows[-1]['images_per_second'][CASCADE]:.0f} images/s")


def _row(
    task: Task, part: ReferenceSet, cascade: Cascade, images: Sequence[Pixels]
) -> dict[str, Any]:
    height, width = images[0].shape
    sides: dict[str, Side] = {CASCADE: partial(_cascade, cascade, images)}
    row: dict[str, Any] = {
        "engine": task.engine,
        "precision": task.precision,
        "batch": len(images),
        "height": height,
        "width": width,
    }
    with ExitStack() as stack:
        bench: Bench | None = None
        if task.engine == "tensorrt":
            bench = stack.enter_context(open_bench(part.bundle, task.precision, images))
            sides |= bench.sides()
        row |= rates(task, sides, len(images))
        results = cascade.batch(images)
        row["stages"] = _stages([found.timings for found in results if found.timings])
        if bench is not None:
            row["lanes"] = SLOTS
            row["ring_stages"] = _stages(bench.times)
            row["differing_pixels"] = bench.differing([found.mask for found in results])
    return row


def rates(task: Task, sides: dict[str, Side], batch: int) -> dict[str, Any]:
    """Return images per second of every side, and their ratios to the ceiling with transfers."""
    tried = task.settings.trial_runs
    for side in sides.values():
        side(tried)
    trial = min(seconds_of(partial(side, tried)) for side in sides.values()) / tried
    runs = max(1, round(task.settings.window_s / trial))
    calls = {name: partial(_window, side, runs) for name, side in sides.items()}
    times = interleaved(calls, task.settings.windows, pause_s=PAUSE_S)
    found: dict[str, Any] = {
        "runs_a_window": runs,
        "images_per_second": {
            name: float(runs * batch / np.median(seconds)) for name, seconds in times.items()
        },
    }
    if TRANSFERS in times:
        ceiling = times[TRANSFERS]
        ours = [name for name in (CASCADE, RING) if name in times]
        found["of_ceiling"] = {name: asdict(ratio(ceiling, times[name])) for name in ours}
    return found


def _window(side: Side, runs: int, number: int) -> None:
    side(runs)


def _cascade(cascade: Cascade, images: Sequence[Pixels], runs: int) -> None:
    """Segment a batch so often by the public calls: a stream of single images, else batches."""
    if len(images) > 1:
        for _ in range(runs):
            cascade.batch(images)
        return
    for _ in islice(cascade.stream((images[0] for _ in range(runs)), copy=False), runs):
        pass


def _stages(runs: Sequence[Any]) -> dict[str, float]:
    """Return median stage times of runs, and of how many; results of one run share its times."""
    distinct = list({id(run): run for run in runs}.values())
    return {"runs": len(distinct), **stage_medians(distinct)}
