"""How long one image takes: array to mask, file to file, stage by stage, against the bare engine.

In every round a call (arrays in, masks out), the bare engine on the same input and a whole (files
in, files out, its stages timed inside) follow each other in an order drawn anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate.benchmarks.measure.baseline import baseline_engine, ready
from foveate.benchmarks.measure.file_throughput import write_images
from foveate.benchmarks.measure.images import Images
from foveate.benchmarks.measure.targets import Variant, Variants
from foveate.benchmarks.measure.timing import (
    PAUSE_SECONDS,
    SEED,
    UNSTEADY,
    Ratio,
    distribution,
    interleaved,
    ratio,
    warm_up,
)
from foveate.benchmarks.schema.machine import resident_mb
from foveate.benchmarks.schema.result_files import STAGES
from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import read_image
from foveate.runtime.io.png import write_mask
from foveate.runtime.result import Result

FULL = 0.95
"""From this share of what can be served on, the queue grows as long as the load lasts."""
OVERHEAD = 0.05
"""Share of the bare engine's time that the runtime may add at batch 1."""


@dataclass(frozen=True)
class LatencyPlan:
    """What is measured: for each batch size, so many rounds."""

    batches: Sequence[int]
    runs: int
    threads: int


@dataclass(frozen=True)
class Subject:
    """One variant about to be measured on images of one size, in memory and as files."""

    cascade: Cascade
    variant: Variant
    raw: Callable[[Array], object]
    pixels: Sequence[Pixels]
    paths: Sequence[Path]
    out: Path

    def some(self, items: Sequence[Any], number: int, batch: int) -> list[Any]:
        """Return the images of a round, the list taken from its start again at its end."""
        return [items[(number * batch + index) % len(items)] for index in range(batch)]


def latency_rows(
    found: Variants,
    images: Images,
    plan: LatencyPlan,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """Return a row for every variant and batch size; ``folder`` takes the files."""
    pixels = [case.image for case in images]
    paths = write_images(pixels, folder)
    rows = []
    for variant, cascade in found.cascades.items():
        with baseline_engine(found.bundle, variant, plan.threads, latency=True) as raw:
            subject = Subject(cascade, variant, raw, pixels, paths, folder)
            for batch in plan.batches:
                shown = partial(progress, f"{variant.name}, batch {batch}")
                rows.append(_row(subject, batch, plan, shown))
    return rows


def _row(
    subject: Subject, batch: int, plan: LatencyPlan, progress: Callable[[int, int], object]
) -> dict[str, Any]:
    cascade, pixels = subject.cascade, subject.pixels
    kind, distinct = cascade.spec.input_kind, range(_distinct(len(pixels), batch))
    feeds = [ready(subject.some(pixels, number, batch), kind) for number in distinct]
    marks: dict[str, list[float]] = {stage: [] for stage in STAGES}
    elapsed = 0.0

    def call(number: int) -> object:
        return cascade.batch(subject.some(pixels, number, batch))

    def whole(number: int) -> None:
        nonlocal elapsed
        started = time.monotonic()
        _whole(subject, number, batch, marks)
        elapsed += time.monotonic() - started

    def both() -> None:
        call(0)
        whole(0)

    steady = warm_up(both)
    for stage in STAGES:
        marks[stage].clear()
    elapsed = 0.0
    calls: dict[str, Callable[[int], Any]] = {
        "call": call,
        "raw": lambda number: subject.raw(feeds[number % len(feeds)]),
        "whole": whole,
    }
    pause_s = 0.0 if subject.variant.on_gpu else PAUSE_SECONDS
    times = interleaved(calls, plan.runs, progress=progress, pause_s=pause_s)
    height, width = pixels[0].shape[:2]
    return {
        "variant": subject.variant.name,
        "engine": subject.variant.engine,
        "precision": subject.variant.precision,
        "threads": plan.threads,
        "batch": batch,
        "height": height,
        "width": width,
        "warm_up": asdict(steady),
        "call": asdict(distribution(times["call"])),
        "raw": asdict(distribution(times["raw"])),
        "overhead": asdict(ratio(times["call"], times["raw"])),
        "own": asdict(_own_share(times["whole"], marks)),
        "stages": {stage: asdict(distribution(marks[stage])) for stage in STAGES},
        "whole": asdict(distribution(times["whole"])),
        "elapsed_s": elapsed,
        "memory_mb": resident_mb(),
    }


def _own_share(whole: Sequence[float], marks: Mapping[str, Sequence[float]]) -> Ratio:
    """Return the runtime's own time over the engine's, taken inside the same run.

    It is the whole without decode, execute and encode. Of two times that follow each other the
    machine may slow down one; this it cannot.
    """
    others = np.sum([marks[stage] for stage in ("decode", "execute", "encode")], axis=0)
    return ratio((np.array(whole) - others).tolist(), marks["execute"])


def _distinct(images: int, batch: int) -> int:
    """Return after how many rounds the same images come again."""
    return int(np.lcm(images, batch)) // batch


def _whole(subject: Subject, number: int, batch: int, marks: dict[str, list[float]]) -> None:
    """Segment files into files and add the seconds of each stage to ``marks``."""
    started = time.perf_counter()
    channels = subject.cascade.spec.channels
    paths = subject.some(subject.paths, number, batch)
    images = [read_image(path, channels=channels) for path in paths]
    decoded = time.perf_counter()
    results = subject.cascade.batch(images)
    segmented = time.perf_counter()
    for index, result in enumerate(results):
        write_mask(subject.out / f"{index}.png", result.mask, len(subject.cascade.spec.classes))
    encoded = time.perf_counter()
    marks["decode"].append(decoded - started)
    marks["encode"].append(encoded - segmented)
    for stage, seconds in _run_seconds(results).items():
        marks[stage].append(seconds)


def _run_seconds(results: Sequence[Result]) -> dict[str, float]:
    """Return the seconds of the runs that gave the results; those of one run share its times."""
    runs = {id(result.timings): result.timings for result in results if result.timings}
    return {
        "h2d": sum(run.h2d_ms for run in runs.values()) / 1000,
        "execute": sum(run.execute_ms for run in runs.values()) / 1000,
        "d2h": sum(run.d2h_ms for run in runs.values()) / 1000,
    }


def offered_load(
    call: Callable[[int], object],
    rate: float,
    requests: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Return response and service times of ``requests`` at ``rate`` a second, served in order.

    ``utilisation`` is the share of the time in which the server was busy; ``queue_max`` the most
    requests that were due and not begun.
    """
    draw = np.random.default_rng(SEED)
    due = np.cumsum(draw.exponential(1 / rate, requests))
    responses, services, queue = [], [], 0
    start = time.perf_counter()
    for number in range(requests):
        wait = start + due[number] - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        begun = time.perf_counter()
        queue = max(queue, int(np.searchsorted(due, begun - start, "right")) - number - 1)
        call(number)
        ended = time.perf_counter()
        services.append(ended - begun)
        responses.append(ended - start - due[number])
        progress(number + 1, requests)
    elapsed = time.perf_counter() - start
    return {
        "rate": rate,
        "requests": requests,
        "response": asdict(distribution(responses)),
        "service": asdict(distribution(services)),
        "queue_max": queue,
        "utilisation": sum(services) / elapsed,
        "achieved_rate": requests / elapsed,
    }


def latency_advice(results: Mapping[str, Any]) -> list[str]:
    """Return the warnings that belong to a latency result."""
    found: list[str] = []
    for row in results["rows"]:
        name = f"{row['variant']}, batch {row['batch']}, {row['width']}x{row['height']}"
        found += [f"{name}: {text}" for text in _row_advice(row)]
    for load in results["offered_load"]:
        capacity = 1000 / load["service"]["median_ms"]
        if load["rate"] > FULL * capacity:
            found.append(
                f"{load['rate']:g} requests/s are more than it can serve ({capacity:.1f}/s): the "
                f"queue grew to {load['queue_max']} and would grow on. Offer less, or use a faster "
                "engine"
            )
    return found


def _row_advice(row: Mapping[str, Any]) -> Iterator[str]:
    variation = row["call"]["cv"]
    if variation > UNSTEADY:
        yield (
            f"times are unsteady (coefficient of variation {variation:.1%}, expected at most "
            f"{UNSTEADY:.1%}): close other programs, fix the clocks, or take more --runs; believe "
            "the ratios before the times"
        )
    if not row["warm_up"]["stable"]:
        yield (
            f"was not steady after {row['warm_up']['runs']} warm-up runs: the processor may be "
            "slowing down from heat, or shared"
        )
    own = row["own"]["median"]
    if own > OVERHEAD:
        stages = {name: row["stages"][name]["median_ms"] for name in ("h2d", "d2h")}
        yield (
            f"the runtime's own time is {own:.1%} of the engine's, expected at most {OVERHEAD:.0%} "
            f"(h2d {stages['h2d']:.2f} ms, d2h {stages['d2h']:.2f} ms): take larger images or "
            "batches, or report it"
        )
    files = row["stages"]["decode"]["median_ms"] + row["stages"]["encode"]["median_ms"]
    if files > row["stages"]["execute"]["median_ms"]:
        yield (
            f"reading and writing files takes {files:.1f} ms, longer than the engine: a faster "
            "engine would not help this pipeline"
        )
