"""The tables of a comparison: every method next to foveate, what is missing, where time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.compare.comparison import summarise_comparison
from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns, with_spread
from foveate.benchmarks.report.tables.parity import not_measured, parity_tables
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import listed

Method = Mapping[str, Any]
METHODS = "Compared with others"


def compare_tables(results: Mapping[str, Any], parity: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a comparison."""
    missing = [(item["name"], item["reason"]) for item in results["methods"] if not item["here"]]
    return [
        methods_table(results),
        *not_measured(missing),
        *_parts(listed(results.get("parts"))),
        *_multiply_adds(results.get("multiply_adds") or {}),
        *parity_tables(results, parity),
    ]


def methods_table(results: Mapping[str, Any]) -> Table:
    """Return every method that was measured, fastest first, and who is faster or better."""
    batch, rounds = results.get("batch", 1), results.get("rounds")
    columns = (
        *text_columns("method"), *number_columns("time", "p99", unit="ms"),
        *number_columns("images/s", "ratio to foveate", "target Dice", "alarms", "disagreement"),
    )  # fmt: skip
    counted = f" in {units.count(rounds, 'round')}" if isinstance(rounds, int) else ""
    notes: list[str | Cell] = [
        Cell(text, style) for style, text in summarise_comparison(results["methods"])
    ]
    notes += [
        f"Median times of {units.count(batch, 'image')} a call, all methods interleaved{counted}; "
        f"images/s is {1000 * batch} / time.",
        "Against foveate: ratio of the times in the same round, its median (10% to 90% of the "
        "rounds); above 1 is slower than foveate.",
    ]
    cells = [_row(item, batch) for item in _fastest_first(results["methods"])]
    return Table(METHODS, columns, cells, notes)


def how_table(results: Mapping[str, Any]) -> Table:
    """Return how each method was run."""
    rows = [[item["name"], item["how"]] for item in _fastest_first(results["methods"])]
    return Table("How each was run", text_columns("method", "how"), rows)


def _fastest_first(methods: Sequence[Method]) -> list[Method]:
    here = (item for item in methods if item["here"])
    return sorted(here, key=lambda item: float(item["ms"]["median_ms"]))


def _row(item: Method, batch: int) -> list[str | Cell]:
    ours, median, apart = item["key"] == "foveate", item["ms"]["median_ms"], item["disagreement"]
    return [
        Cell(item["name"], "ours" if ours else ""),
        units.figure(median),
        units.figure(item["ms"]["p99_ms"]),
        units.figure(1000 * batch / median) if median > 0 else "-",
        "1" if ours else with_spread(item["ratio"]),
        units.dice(item["dice"]),
        str(item["false_alarms"]),
        Cell("not measured", "poor") if apart is None else units.disagreement(apart),
    ]


def _parts(parts: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return what the time is made of; nothing for none."""
    columns = (
        *text_columns("part"), *number_columns("time", unit="ms"),
        *number_columns("ratio to foveate"),
    )  # fmt: skip
    rows = [
        [part["name"], units.figure(part["ms"]["median_ms"]), with_spread(part["ratio"])]
        for part in parts
    ]
    return [Table("What the time is made of", columns, rows)] if parts else []


def _multiply_adds(counts: Mapping[str, Any]) -> list[Table]:
    """Return the multiply-adds of one image; nothing for none."""
    columns = (*text_columns("network"), *number_columns("multiply-adds", unit="10^9"))
    rows = [[name, units.figure(value / 1e9)] for name, value in counts.items()]
    return [Table("Multiply-adds of one image", columns, rows)] if counts else []
