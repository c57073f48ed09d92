"""Find what a reader must not believe of a result: units, sums, and variants whose masks differ.

Nothing here knows what speed to expect. A rule compares two figures that were taken by different
means and must agree. Where other processes held the cores, times that do not agree are
inconclusive: nothing says that the figures are wrong, and nothing that they are right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from foveate.benchmarks.schema.machine import OTHERS
from foveate.benchmarks.schema.result_files import listed
from foveate.benchmarks.schema.units import figure

SUM_TOLERANCE, SUM_MS = 0.1, 2.0
"""The share of the whole, and the milliseconds, that its stages may differ from it by."""
UNITS = 5.0
"""Figures of one run differ by less than this factor on a busy machine; units by 60 or 1000."""
_PERCENTILES = {
    "min_ms": 0, "median_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "max_ms": 100,
}  # fmt: skip


def find_issues(result: Mapping[str, Any]) -> list[str]:
    """Return what a reader must not believe of a result, and why; empty for a sound one."""
    kind, results, parity = result["kind"], result["results"], _parity_of(result)
    found = [*_unproven(results, parity), *_all_times(results, "")]
    for row in results["rows"] if kind == "latency" else ():
        found += _latency_row(row)
    if kind == "compare":
        found += _compare(results)
    if kind == "throughput":
        found += _throughput(results)
    return found if _disturbed(result) else [*found, *_noisy(kind, results)]


def find_lost(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the variants whose masks are not the reference's, and by how much, in words."""
    return dict(_lost(_parity_of(result)))


def fails(result: Mapping[str, Any]) -> bool:
    """Say whether a command exits with 1: figures contradict each other, or masks differ.

    OpenVINO's bf16 counts only where it was asked for: it is measured so that ``auto`` may know.
    """
    lost = [name for name in find_lost(result) if not name.endswith(" bf16")]
    asked = "bf16" in str(result["command"])
    return bool(find_issues(result) or lost or (asked and find_lost(result)))


def find_inconclusive(result: Mapping[str, Any]) -> list[str]:
    """Return what disagrees in a result, and may do so only because the machine was busy."""
    return list(_noisy(result["kind"], result["results"])) if _disturbed(result) else []


def _disturbed(result: Mapping[str, Any]) -> bool:
    return any(str(text).startswith(OTHERS) for text in result["warnings"])


def _noisy(kind: str, results: Mapping[str, Any]) -> Iterator[str]:
    """Name the times that do not agree by as much as other processes can make them differ."""
    for row in results["rows"] if kind == "latency" else ():
        yield from _stage_sum(row)
    if kind == "throughput":
        yield from _over_ceilings(results)


def _parity_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found = result["results"]["variants"] if result["kind"] == "parity" else result["parity"]
    return cast("Mapping[str, Any]", found)


def _lost(parity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, row in parity.items():
        if row["held"]:
            continue
        change = row["dice_change"]
        dice = "" if change is None else f", Dice change {change:+.4f}"
        flips = f", {len(row['emptiness_flips'])} masks empty on one side only"
        yield (
            name,
            f"{name} gives other masks than {row['reference']}: disagreement "
            f"{row['disagreement']:.4f}, expected at most {row['disagreement_bound']}{dice}"
            f"{flips if row['emptiness_flips'] else ''}; its speed says nothing",
        )


def _unproven(results: Mapping[str, Any], parity: Mapping[str, Any]) -> Iterator[str]:
    """Name the variants whose speed is shown and whose masks were compared with nothing."""
    if not parity:
        yield "no parity was measured: a speed without the masks' parity says nothing"
    measured = [row for name in ("rows", "grid", "files") for row in listed(results.get(name))]
    for variant in dict.fromkeys(row["variant"] for row in measured):
        if parity and variant not in parity:
            yield f"{variant}: no parity was measured: its masks may be anything"


def _all_times(value: Any, where: str) -> Iterator[str]:
    """Check every set of times anywhere in the results against its own samples."""
    if isinstance(value, dict) and "samples_ms" in value:
        yield from _times(value, where)
    elif isinstance(value, dict):
        label = value.get("name") or value.get("variant") or ""
        for name, item in value.items():
            yield from _all_times(item, f"{where} {label} {name}".strip())
    elif isinstance(value, list):
        for item in value:
            yield from _all_times(item, where)


def _times(times: Mapping[str, Any], where: str) -> Iterator[str]:
    samples = times["samples_ms"]
    if len(samples) != times["n"] or not samples:
        yield f"{where}: {len(samples)} samples for n = {times['n']}"
        return
    given = {name: float(np.percentile(samples, q)) for name, q in _PERCENTILES.items()}
    given["mean_ms"] = float(np.mean(samples))
    wrong = [
        f"{name} is {times[name]:g}, its samples give {value:g}"
        for name, value in given.items()
        if not math.isclose(times[name], value, rel_tol=0.01, abs_tol=0.001)
    ]
    if wrong:
        yield f"{where}: {'; '.join(wrong)}: other units or other samples?"


def _row_name(row: Mapping[str, Any]) -> str:
    return f"{row['variant']}, batch {row['batch']}, {row['width']}x{row['height']}"


def _stage_sum(row: Mapping[str, Any]) -> Iterator[str]:
    whole = row["whole"]["median_ms"]
    samples = [times["samples_ms"] for times in row["stages"].values()]
    total = float(np.median(np.sum(samples, axis=0)))
    if abs(total - whole) > max(SUM_TOLERANCE * whole, SUM_MS):
        stages = ", ".join(
            f"{stage} {figure(times['median_ms'])}" for stage, times in row["stages"].items()
        )
        yield (
            f"{_row_name(row)}: the stages add up to {total:.4g} ms ({stages}), the whole takes "
            f"{whole:.4g} ms: time is spent outside the stages, or one is in another unit"
        )


def _latency_row(row: Mapping[str, Any]) -> Iterator[str]:
    sampled = sum(row["whole"]["samples_ms"]) / 1000
    if not sampled / UNITS <= row["elapsed_s"] <= sampled * UNITS:
        yield (
            f"{_row_name(row)}: its runs add up to {sampled:.4g} s, the wall clock says "
            f"{row['elapsed_s']:.4g} s: are the times in milliseconds?"
        )


def _compare(results: Mapping[str, Any]) -> Iterator[str]:
    methods = [item for item in results["methods"] if item["here"]]
    ours = next((item["ms"]["median_ms"] for item in methods if item["key"] == "foveate"), 0)
    if ours <= 0:
        yield "foveate itself was not measured, so the ratios have no base"
        return
    for item in methods:
        expected, stated = item["ms"]["median_ms"] / ours, item["ratio"]["median"]
        if not expected / UNITS <= stated <= expected * UNITS:
            yield (
                f"{item['name']}: a ratio of {stated:.3g}, but its median time is "
                f"{expected:.3g} times ours: one of the two is in another unit"
            )


def _throughput(results: Mapping[str, Any]) -> Iterator[str]:
    for row in results["grid"]:
        stated = row["share"]["median"]
        expected = row["images_per_second"] / row["raw_images_per_second"]
        if not expected / UNITS <= stated <= expected * UNITS:
            yield (
                f"{row['variant']}, batch {row['batch']}, {row['workers']} workers: a share of "
                f"{stated:.3g}, but the two rates give {expected:.3g}: one is in another unit"
            )
    for row in listed(results.get("ceilings")):
        if row["disagreement"] > row["disagreement_bound"]:
            yield (
                f"{row['variant']}, batch {row['batch']}: the masks behind the ceiling are not the "
                f"cascade's, disagreement {row['disagreement']:.4f}: one of the two computed "
                "something else"
            )


def _over_ceilings(results: Mapping[str, Any]) -> Iterator[str]:
    for files in listed(results["files"]):
        rate, ceiling = files["images_per_second"], files["ceiling_images_per_second"]
        if rate > 1.1 * ceiling:
            yield f"{rate:.4g} images/s with files is above their ceiling of {ceiling:.4g}"
    for row in listed(results.get("ceilings")):
        name, low = f"{row['variant']}, batch {row['batch']}", row["of_ceiling"]["low"]
        if low > 1.1:
            yield f"{name}: {low:.2f} times the ceiling with transfers"
    for floor in listed(results.get("roofline")):
        if floor["share"] > 1.05:
            yield (
                f"{floor['share']:.2f} times as fast as the machine's measured peaks allow: the "
                "work was not done, or the peaks were measured on a busy machine"
            )
