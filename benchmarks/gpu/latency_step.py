"""How long one image takes, host array in to host mask out: the usual ring, and latency mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from foveate.benchmarks.gpu.references import Expected, judged
from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.parity import cascade_segment
from foveate.benchmarks.timing import distribution, interleaved, warm_up
from foveate.runtime.cascade import Cascade
from foveate.runtime.result import Timings

SHOWN = 500


def run(task: Task) -> None:
    """Time both modes by turns, and judge the masks of both on the same images."""
    part = task.reference_set()
    expected = part.load()
    folder = part.bundle.path
    with (
        Cascade.load(folder, task.engine, task.precision) as usual,
        Cascade.load(folder, task.engine, task.precision, latency=True) as quick,
    ):
        cascades = {"default": usual, "latency": quick}
        parity = {
            mode: judged(cascade_segment(cascade), expected, task.precision, part.reference)
            for mode, cascade in cascades.items()
        }
        task.keep({"parity": parity})
        rows = _rows(task, cascades, expected)
    for row in rows:
        row["parity"] = parity[row["mode"]]
        times = row["ms"]
        task.say(f"{row['mode']}: p50 {times['median_ms']:.3f} ms, p99 {times['p99_ms']:.3f} ms")
    task.keep({"rows": rows})


def _rows(
    task: Task, cascades: dict[str, Cascade], expected: Sequence[Expected]
) -> list[dict[str, Any]]:
    pixels = [item.case.image for item in expected]
    stages: dict[str, list[Timings]] = {mode: [] for mode in cascades}

    def call(mode: str, number: int) -> Any:
        return cascades[mode](pixels[number % len(pixels)])

    def note(mode: str, number: int, found: Any) -> None:
        stages[mode].append(found.timings)

    def progress(done: int, total: int) -> None:
        if done % SHOWN == 0:
            task.say(f"{done} of {total} rounds")

    calls = {mode: lambda number, mode=mode: call(mode, number) for mode in cascades}
    steady = {mode: warm_up(lambda mode=mode: call(mode, 0)) for mode in cascades}  # type: ignore[misc]
    times = interleaved(calls, task.settings.runs, note, progress, pause_s=0.0)
    height, width = pixels[0].shape
    return [
        {
            "engine": task.engine,
            "precision": task.precision,
            "mode": mode,
            "batch": 1,
            "height": height,
            "width": width,
            "warm_up": asdict(steady[mode]),
            "ms": asdict(distribution(times[mode])),
            "stages": stage_medians(stages[mode]),
        }
        for mode in cascades
    ]


def stage_medians(timings: Sequence[Timings]) -> dict[str, float]:
    """Return the median milliseconds of each stage; on a GPU they come from events."""
    return {
        name: distribution([getattr(run, name) / 1000 for run in timings]).median_ms
        for name in ("h2d_ms", "execute_ms", "d2h_ms")
    }
