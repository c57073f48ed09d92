"""What limits or disturbs a measurement, in words, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foveate.benchmarks.measure.offered_load import FULL

UNSTEADY = 0.025
"""Coefficient of variation above which times are unsteady, as in trtexec."""
OVERHEAD = 0.05
"""Share of the bare engine's time that the runtime may add at batch 1."""


def latency_advice(results: Mapping[str, Any]) -> list[str]:
    """Return the warnings that belong to a latency result."""
    found: list[str] = []
    for row in results["rows"]:
        name = f"{row['variant']}, batch {row['batch']}, {row['width']}x{row['height']}"
        found += [f"{name}: {text}" for text in _row(row)]
    for load in results["offered_load"]:
        capacity = 1000 / load["service"]["median_ms"]
        if load["rate"] > FULL * capacity:
            found.append(
                f"{load['rate']:g} requests/s are more than it can serve ({capacity:.1f}/s): the "
                f"queue grew to {load['queue_max']} and would grow on. Offer less, or use a faster "
                "engine"
            )
    return found


def _row(row: Mapping[str, Any]) -> Iterator[str]:
    variation = row["call"]["cv"]
    if variation > UNSTEADY:
        yield (
            f"times are unsteady (coefficient of variation {variation:.1%}, wanted at most "
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
            f"the runtime's own time is {own:.1%} of the engine's, wanted at most {OVERHEAD:.0%} "
            f"(h2d {stages['h2d']:.2f} ms, d2h {stages['d2h']:.2f} ms): take larger images or "
            "batches, or report it"
        )
    files = row["stages"]["decode"]["median_ms"] + row["stages"]["encode"]["median_ms"]
    if files > row["stages"]["execute"]["median_ms"]:
        yield (
            f"reading and writing files takes {files:.1f} ms, longer than the engine: a faster "
            "engine would not help this pipeline"
        )
