"""The tables of a latency result: times, stages, cold start and offered load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foveate.benchmarks.measure.timing import UNSTEADY
from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns, with_spread
from foveate.benchmarks.report.tables.parity import mark, parity_tables
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import STAGES, listed

Row = Mapping[str, Any]
TIMES, OVERHEAD, STAGE_TIMES = "Latency, ms", "Time that foveate adds", "Stages, file to file, ms"
COLD_START, OFFERED_LOAD = "Cold start, ms", "Offered load, response times in ms"
_FIGURES = ("min", "median", "mean", "p90", "p95", "p99", "max")
_TIMED = {"call": "call", "raw": "baseline", "whole": "whole"}
"""Key of a row -> what it is called in the tables."""
_COLD = ("python_ms", "import_ms", "load_ms", "first_mask_ms", "whole_ms")
_MEMORY = ("import_mb", "load_mb", "peak_mb")
_WHAT = (*text_columns("variant"), *number_columns("batch", "size"))


def latency_tables(results: Mapping[str, Any], parity: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a latency result."""
    rows = results["rows"]
    return [
        _times(rows, parity),
        _overhead(rows, parity),
        _stages(rows, parity),
        *_cold_start(listed(results.get("cold_start")), parity),
        *_offered_load(listed(results.get("offered_load")), parity),
        *parity_tables(results, parity),
    ]


def _what(row: Row) -> list[str]:
    return [row["variant"], str(row["batch"]), units.size(row)]


def _times(rows: Sequence[Row], parity: Mapping[str, Any]) -> Table:
    columns = (*_WHAT, *text_columns("measured", "parity"), *number_columns(*_FIGURES, "cv"))
    cells: list[list[str | Cell]] = [
        [
            *_what(row), name, mark(parity, row["variant"]),
            *(units.figure(row[key][f"{figure}_ms"]) for figure in _FIGURES),
            Cell(units.percent(row[key]["cv"]), "fair" if row[key]["cv"] > UNSTEADY else ""),
        ]
        for row in rows
        for key, name in _TIMED.items()
    ]  # fmt: skip
    return Table(TIMES, columns, cells)


def _overhead(rows: Sequence[Row], parity: Mapping[str, Any]) -> Table:
    columns = (
        *_WHAT, *text_columns("parity"),
        *number_columns("own time", unit="%"),
        *number_columns("call / baseline", "runs", "warm-up"),
        *number_columns("memory", unit="MB"),
    )  # fmt: skip
    cells: list[list[str | Cell]] = []
    for row in rows:
        own, warm_up = row["own"], row["warm_up"]
        runs = str(warm_up["runs"])
        cells.append([
            *_what(row), mark(parity, row["variant"]),
            with_spread({name: 100 * own[name] for name in ("median", "low", "high")}),
            with_spread(row["overhead"]), str(row["call"]["n"]),
            runs if warm_up["stable"] else Cell(f"{runs}, unsteady", "fair"),
            _megabytes(row["memory_mb"]),
        ])  # fmt: skip
    return Table(OVERHEAD, columns, cells)


def _megabytes(value: float | None) -> str:
    return "-" if value is None else units.figure(value)


def _stages(rows: Sequence[Row], parity: Mapping[str, Any]) -> Table:
    """Return medians; the sum is the median of the sums run by run, as the check takes it."""
    columns = (*_WHAT, *text_columns("parity"), *number_columns(*STAGES, "sum", "whole", "share"))
    cells: list[list[str | Cell]] = []
    for row in rows:
        samples = [row["stages"][name]["samples_ms"] for name in STAGES]
        medians = [row["stages"][name]["median_ms"] for name in STAGES]
        level = len({len(item) for item in samples}) == 1 and len(samples[0]) > 0
        total = float(np.median(np.sum(samples, axis=0))) if level else float(sum(medians))
        whole = row["whole"]["median_ms"]
        cells.append([
            *_what(row), mark(parity, row["variant"]),
            *map(units.figure, [*medians, total, whole]),
            units.percent(total / whole) if whole else "-",
        ])  # fmt: skip
    return Table(STAGE_TIMES, columns, cells)


def _cold_start(starts: Sequence[Row], parity: Mapping[str, Any]) -> list[Table]:
    columns = (
        *text_columns("variant", "parity"),
        *number_columns("Python", "import", "load", "first mask", "whole"),
        *number_columns("imported", "loaded", "peak", unit="MB"),
        *number_columns("processes"),
    )
    cells = [
        [
            start["variant"], mark(parity, start["variant"]),
            *(units.figure(start[name]) for name in _COLD),
            *(_megabytes(start[name]) for name in _MEMORY),
            str(start["runs"]),
        ]
        for start in starts
    ]  # fmt: skip
    return [Table(COLD_START, columns, cells)] if starts else []


def _offered_load(loads: Sequence[Row], parity: Mapping[str, Any]) -> list[Table]:
    columns = (
        *text_columns("variant", "parity"), *number_columns("rate", "reached", unit="/s"),
        *number_columns("requests", "p50", "p90", "p99", "max", "service p50"),
        *number_columns("utilisation", "queue"),
    )  # fmt: skip
    cells = []
    for load in loads:
        response = load["response"]
        figures = [load["rate"], load["achieved_rate"]]
        times = [response[name] for name in ("median_ms", "p90_ms", "p99_ms", "max_ms")]
        cells.append([
            load["variant"], mark(parity, load["variant"]), *map(units.figure, figures),
            str(load["requests"]), *map(units.figure, [*times, load["service"]["median_ms"]]),
            units.percent(load["utilisation"]), str(load["queue_max"]),
        ])  # fmt: skip
    return [Table(OFFERED_LOAD, columns, cells)] if loads else []
