"""What in a result contradicts itself: a unit mixed up, a stage that sleeps, masks that differ.

Nothing here knows what speed to expect. Each rule compares two figures that were taken by
different means and must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.schema.result_shapes import listed
from foveate.benchmarks.schema.units import figure

SUM_TOLERANCE, SUM_MS = 0.1, 2.0
"""The share of the whole, and the milliseconds, that the stages may leave out or be too long by."""
OVERHEAD = 0.25
OVERHEAD_MS = 5.0
"""A call longer than the bare engine by this share and these milliseconds is not its time."""
UNITS = 5.0
"""Figures of one run differ by less than this factor on a busy machine; units by 60 or 1000."""
_NAMED = (
    ("min_ms", 0), ("median_ms", 50), ("p90_ms", 90), ("p95_ms", 95), ("p99_ms", 99),
    ("max_ms", 100),
)  # fmt: skip


def find_issues(result: Mapping[str, Any]) -> list[str]:
    """Return what a reader must not believe of a result, and why; empty for a sound one."""
    parity = result["results"]["variants"] if result["kind"] == "parity" else result["parity"]
    found = [*_parity(parity), *_all_times(result["results"], "")]
    found += _unproven(result["results"], parity)
    kind, results = result["kind"], result["results"]
    if kind == "latency":
        for row in results["rows"]:
            found += _latency_row(row)
    elif kind == "compare":
        found += _compare(results)
    elif kind == "throughput":
        found += _throughput(results)
    return found


def _parity(parity: Mapping[str, Any]) -> Iterator[str]:
    if not parity:
        yield "no parity was measured: a speed without the masks' parity says nothing"
    for name, row in parity.items():
        if not row["held"]:
            change = row["dice_change"]
            dice = "" if change is None else f", Dice change {change:+.4f}"
            flips = f", {len(row['emptiness_flips'])} masks empty on one side only"
            yield (
                f"{name} gives other masks than {row['reference']}: disagreement "
                f"{row['disagreement']:.4f}, expected at most {row['disagreement_bound']}{dice}"
                f"{flips if row['emptiness_flips'] else ''}; its speed is the speed of something "
                "else"
            )


def _unproven(results: Mapping[str, Any], parity: Mapping[str, Any]) -> Iterator[str]:
    """Name the variants whose speed is shown and whose masks were compared with nothing."""
    measured = [row for name in ("rows", "grid", "files") for row in listed(results.get(name))]
    for variant in dict.fromkeys(row["variant"] for row in measured):
        if parity and variant not in parity:
            yield f"{variant}: no parity was measured: its masks may be anything"


def _all_times(value: Any, where: str) -> Iterator[str]:
    """Check every set of times anywhere in the results against its own samples."""
    if isinstance(value, dict):
        if "samples_ms" in value:
            yield from _times(value, where)
            return
        label = value.get("name") or value.get("variant")
        for name, item in value.items():
            yield from _all_times(item, f"{where} {label or ''} {name}".strip())
    elif isinstance(value, list):
        for item in value:
            yield from _all_times(item, where)


def _times(times: Mapping[str, Any], where: str) -> Iterator[str]:
    samples = np.asarray(times["samples_ms"], float)
    if len(samples) != times["n"] or len(samples) == 0:
        yield f"{where}: {len(samples)} samples for n = {times['n']}"
        return
    wrong = [
        f"{name} is {times[name]:g}, its samples give {given:g}"
        for name, given in _given(samples).items()
        if not math.isclose(times[name], given, rel_tol=0.01, abs_tol=0.001)
    ]
    if wrong:
        yield f"{where}: {'; '.join(wrong)}: other units or other samples?"


def _given(samples: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return what the summary figures of these samples must be."""
    found = {name: float(np.percentile(samples, percentile)) for name, percentile in _NAMED}
    mean = float(samples.mean())
    return {**found, "mean_ms": mean, "cv": float(samples.std() / mean) if mean else 0.0}


def _latency_row(row: Mapping[str, Any]) -> Iterator[str]:
    name = f"{row['variant']}, batch {row['batch']}, {row['width']}x{row['height']}"
    whole = row["whole"]["median_ms"]
    stages = {stage: times["median_ms"] for stage, times in row["stages"].items()}
    samples = [times["samples_ms"] for times in row["stages"].values()]
    if len({len(item) for item in samples}) > 1 or not samples[0]:
        yield f"{name}: its stages have different numbers of samples, so they do not add up"
        return
    total = float(np.median(np.sum(samples, axis=0)))
    if abs(total - whole) > max(SUM_TOLERANCE * whole, SUM_MS):
        listed = ", ".join(f"{stage} {figure(value)}" for stage, value in stages.items())
        yield (
            f"{name}: the stages add up to {total:.4g} ms ({listed}), the whole takes "
            f"{whole:.4g} ms: time is spent outside the stages, or one is in another unit"
        )
    sampled = sum(row["whole"]["samples_ms"]) / 1000
    elapsed = row["elapsed_s"]
    if not sampled / UNITS <= elapsed <= sampled * UNITS:
        yield (
            f"{name}: its runs add up to {sampled:.4g} s, the clock on the wall said "
            f"{elapsed:.4g} s: are the times in milliseconds?"
        )
    overhead = row["overhead"]["low"] - 1
    if overhead > OVERHEAD and overhead * row["raw"]["median_ms"] > OVERHEAD_MS:
        slow = {stage: stages[stage] for stage in ("h2d", "execute", "d2h")}
        slow["execute"] -= row["raw"]["median_ms"]
        stage = max(slow, key=lambda item: slow[item])
        yield (
            f"{name}: a call takes at least {1 + overhead:.2f} times the bare engine; "
            f"{slow[stage]:.3g} ms of that are in {stage}, which waits or copies too much"
        )


def _compare(results: Mapping[str, Any]) -> Iterator[str]:
    methods = [item for item in results["methods"] if item["here"]]
    ours = next((item for item in methods if item["key"] == "foveate"), None)
    if ours is None:
        yield "foveate itself was not measured, so the ratios have no base"
        return
    if ours["ms"]["median_ms"] <= 0:
        yield "foveate takes no time at all: nothing was measured"
        return
    for item in methods:
        expected = item["ms"]["median_ms"] / ours["ms"]["median_ms"]
        stated = item["ratio"]
        spread = max(stated["high"] / stated["low"], 1.2) if stated["low"] > 0 else 1.2
        if not expected / spread <= stated["median"] <= expected * spread:
            yield (
                f"{item['name']}: a ratio of {stated['median']:.3g}, but its median time is "
                f"{expected:.3g} times ours: one of the two is in another unit"
            )


def _throughput(results: Mapping[str, Any]) -> Iterator[str]:
    if results["files"]:
        yield from _files(results["files"])
    for row in results["grid"]:
        yield from _grid_row(row)
    for row in listed(results.get("ceilings")):
        yield from _ceiling_row(row)
    roofline = results.get("roofline")
    if roofline and roofline["share"] > 1.05:
        yield (
            f"{roofline['share']:.2f} times as fast as the machine's measured peaks allow: the "
            "work was not done, or the peaks were measured on a busy machine"
        )


def _grid_row(row: Mapping[str, Any]) -> Iterator[str]:
    name = f"{row['variant']}, batch {row['batch']}, {row['workers']} workers"
    share = row["share"]["median"]
    if share > 1.25:
        yield f"{name}: {share:.2f} times the bare engine's rate: one is wrong"
    if share < 1 / (1 + OVERHEAD):
        rates = row["images_per_second"], row["raw_images_per_second"]
        more_ms = 1000 * row["workers"] * row["batch"] * (1 / rates[0] - 1 / rates[1])
        yield (
            f"{name}: only {share:.2f} of the bare engine's rate: {more_ms:.3g} ms of a call are "
            "spent around the engine, which waits or copies more than it should"
        )
    expected = row["images_per_second"] / row["raw_images_per_second"]
    if not expected / UNITS <= share <= expected * UNITS:
        yield (
            f"{name}: a share of {share:.3g}, but the two rates give {expected:.3g}: one of them "
            "is in another unit"
        )


def _ceiling_row(row: Mapping[str, Any]) -> Iterator[str]:
    name, share = f"{row['variant']}, batch {row['batch']}", row["of_ceiling"]["low"]
    if row["disagreement"] > row["disagreement_bound"]:
        yield (
            f"{name}: the masks behind the ceiling are not the cascade's, disagreement "
            f"{row['disagreement']:.4f}: one of the two computed something else"
        )
    if share > 1.1:
        yield f"{name}: {share:.2f} times the ceiling with transfers: one of the two is wrong"


def _files(files: Mapping[str, Any]) -> Iterator[str]:
    rate, ceiling = files["images_per_second"], files["ceiling_images_per_second"]
    if rate > 1.1 * ceiling:
        yield (
            f"{rate:.4g} images/s with files is above the ceiling of {ceiling:.4g}: one of the two "
            "is wrong"
        )
    stages = files["stages"]
    core_ms = {name: stage["core_ms"] for name, stage in stages.items()}
    cores = {
        name: stage["images_per_second"] * core_ms[name] / 1000 for name, stage in stages.items()
    }
    cores["the ceiling"] = ceiling * sum(core_ms.values()) / 1000
    if max(cores.values()) > UNITS * min(cores.values()):
        listed = ", ".join(f"{name} {value:.3g}" for name, value in cores.items())
        yield f"the stages with files speak of different numbers of cores ({listed}): other units?"
    slowest = max(core_ms, key=lambda name: core_ms[name])
    if slowest != files["bottleneck"]:
        yield f"the bottleneck is said to be {files['bottleneck']}, but {slowest} takes longest"
