"""Latency in the report: distributions, stages, cold start and offered load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foveate.benchmarks.measure.timing import UNSTEADY
from foveate.benchmarks.report import pages, plots
from foveate.benchmarks.report.album import Album
from foveate.benchmarks.report.model_results import ResultFile
from foveate.benchmarks.report.pages import Cell
from foveate.benchmarks.report.sections.parity_section import mark, parity_table, skipped
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_shapes import STAGES, listed

Row = Mapping[str, Any]
_FIGURES = ("min_ms", "median_ms", "mean_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")
_COLD = ("python_ms", "import_ms", "load_ms", "first_mask_ms", "whole_ms")


def latency_section(file: ResultFile, album: Album) -> str:
    """Return a latency result as HTML."""
    results, parity = file.result["results"], file.parity
    rows = results["rows"]
    distributions = "".join(
        album.figure(
            f"latency-{number}", plots.latency_distribution(row),
            "Share of runs that took at most so long, diamonds at p50 and p99. "
            f"{_state(row, parity)}",
        )
        for number, row in enumerate(rows, 1)
    )  # fmt: skip
    stages = "".join(
        album.figure(
            f"stages-{number}", plots.stage_bars(row),
            f"Medians of the stages, {units.count(row['batch'], 'file')} at a time. "
            f"{_state(row, parity)}",
        )
        for number, row in enumerate(rows, 1)
    )  # fmt: skip
    return (
        f"<h3>Latency, array in, mask out</h3>{_latency_table(rows, parity)}"
        f'<div class="plots">{distributions}</div>'
        f"<h4>Parity</h4>{parity_table(parity)}"
        f"<h3>Stages, file in, file out, ms</h3>{_stage_table(rows, parity)}"
        f'<div class="plots">{stages}</div>'
        f"{_cold_start(listed(results.get('cold_start')), parity)}"
        f"{_offered_load(listed(results.get('offered_load')), parity, album)}"
        f"{skipped(results)}"
    )


def _state(row: Row, parity: Mapping[str, Any]) -> str:
    return f"Parity {mark(parity, row['variant']).text}."


def _label(row: Row) -> str:
    return f"{row['variant']}, batch {row['batch']}, {units.size(row)}"


def _latency_table(rows: Sequence[Row], parity: Mapping[str, Any]) -> str:
    head = (
        "variant, batch, size", "parity", "n", "min", "median", "mean", "p90", "p95", "p99", "max",
        "cv", "own time", "bare median", "call / bare", "10% to 90%", "warm-up runs",
        "threads", "memory MB",
    )  # fmt: skip
    return pages.table(head, [_latency_row(row, parity) for row in rows])


def _latency_row(row: Row, parity: Mapping[str, Any]) -> list[str | Cell]:
    call, warm_up = row["call"], row["warm_up"]
    runs = str(warm_up["runs"])
    cv = units.percent(call["cv"])
    return [
        _label(row),
        mark(parity, row["variant"]),
        str(call["n"]),
        *(units.figure(call[name]) for name in _FIGURES),
        Cell(cv, "fair") if call["cv"] > UNSTEADY else cv,
        units.percent(row["own"]["median"]),
        units.figure(row["raw"]["median_ms"]),
        units.ratio(row["overhead"]),
        units.spread(row["overhead"]),
        runs if warm_up["stable"] else Cell(f"{runs}, not steady", "fair"),
        str(row["threads"]),
        _megabytes(row["memory_mb"]),
    ]


def _megabytes(value: float | None) -> str:
    return "-" if value is None else units.figure(value)


def _stage_table(rows: Sequence[Row], parity: Mapping[str, Any]) -> str:
    head = ("variant, batch, size", "parity", *STAGES, "sum", "whole", "sum / whole")
    return pages.table(head, [_stage_row(row, parity) for row in rows])


def _stage_row(row: Row, parity: Mapping[str, Any]) -> list[str | Cell]:
    """Return medians; the sum is the median of the sums run by run, as the check takes it."""
    medians = [row["stages"][name]["median_ms"] for name in STAGES]
    samples = [row["stages"][name]["samples_ms"] for name in STAGES]
    level = len({len(item) for item in samples}) == 1 and len(samples[0]) > 0
    total = float(np.median(np.sum(samples, axis=0))) if level else float(sum(medians))
    whole = row["whole"]["median_ms"]
    return [
        _label(row),
        mark(parity, row["variant"]),
        *map(units.figure, medians),
        units.figure(total),
        units.figure(whole),
        units.percent(total / whole) if whole else "-",
    ]


def _cold_start(items: Sequence[Row], parity: Mapping[str, Any]) -> str:
    if not items:
        return ""
    head = (
        "variant", "parity", "python", "import", "load", "first mask", "whole", "MB imported",
        "MB loaded", "MB at most", "processes",
    )  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            item["variant"], mark(parity, item["variant"]),
            *(units.figure(item[name]) for name in _COLD),
            *(_megabytes(item[name]) for name in ("import_mb", "load_mb", "peak_mb")),
            str(item["runs"]),
        ]
        for item in items
    ]  # fmt: skip
    return f"<h3>Cold start, ms</h3>{pages.table(head, rows)}"


def _offered_load(loads: Sequence[Row], parity: Mapping[str, Any], album: Album) -> str:
    if not loads:
        return ""
    head = (
        "variant", "parity", "rate, /s", "achieved, /s", "requests", "response p50", "p90", "p99",
        "max", "service p50", "utilisation", "longest queue",
    )  # fmt: skip
    figures = "".join(
        album.figure(
            "offered-load", plots.offered_load([load for load in loads if load["variant"] == name]),
            "Response counts from the moment a request was due. "
            f"{_state({'variant': name}, parity)}",
        )
        for name in dict.fromkeys(load["variant"] for load in loads)
    )  # fmt: skip
    table = pages.table(head, [_load_row(load, parity) for load in loads])
    return f'<h3>Offered load, ms</h3>{table}<div class="plots">{figures}</div>'


def _load_row(load: Row, parity: Mapping[str, Any]) -> list[str | Cell]:
    response = load["response"]
    names = ("median_ms", "p90_ms", "p99_ms", "max_ms")
    return [
        load["variant"],
        mark(parity, load["variant"]),
        units.figure(load["rate"]),
        units.figure(load["achieved_rate"]),
        str(load["requests"]),
        *(units.figure(response[name]) for name in names),
        units.figure(load["service"]["median_ms"]),
        units.percent(load["utilisation"]),
        str(load["queue_max"]),
    ]
