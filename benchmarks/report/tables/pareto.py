"""The tables of a Pareto result: Dice against time of every point, and what each model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foveate.benchmarks.compare.comparison import DICE_APART
from foveate.benchmarks.measure.timing import SPREAD
from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns
from foveate.benchmarks.report.tables.parity import mark, parity_tables
from foveate.benchmarks.schema import units

Row = Mapping[str, Any]
POINTS = "Dice against time"


def pareto_tables(results: Mapping[str, Any], parity: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a Pareto result."""
    return [
        _points(results["rows"], parity),
        _models(results["models"]),
        *parity_tables(results, parity),
    ]


def fastest_first(rows: Sequence[Row]) -> list[Row]:
    """Return the points by their median time."""
    return sorted(rows, key=lambda row: float(row["ms"]["median_ms"]))


def _points(rows: Sequence[Row], parity: Mapping[str, Any]) -> Table:
    columns = (
        *text_columns("model", "parity"), *number_columns("Dice", "95% interval"),
        *number_columns("median", "10% to 90%", unit="ms"), *text_columns("Pareto front"),
    )  # fmt: skip
    ordered = fastest_first(rows)
    cells: list[list[str | Cell]] = []
    for row in ordered:
        score, times = row["dice"], row["ms"]
        low, high = np.percentile(times["samples_ms"], SPREAD)
        front = row["front"]
        cells.append([
            Cell(row["variant"], "ours" if front else ""), mark(parity, row["variant"]),
            units.dice(score["value"]), f"{score['low']:.3f} to {score['high']:.3f}",
            units.figure(times["median_ms"]), f"{units.figure(low)} to {units.figure(high)}",
            "on it" if front else "-",
        ])  # fmt: skip
    notes: list[str | Cell] = [
        f"{row['variant']} dominates {'; '.join(beaten)}."
        for row in ordered
        if (beaten := [r["variant"] for r in ordered if r["dominated_by"] == row["variant"]])
    ]
    notes.append(
        f"A point dominates those that take longer and whose Dice is not more than {DICE_APART:g} "
        "higher; the Pareto front is the points that none dominates. A point whose parity is not "
        "held neither dominates nor is on the front."
    )
    return Table(POINTS, columns, cells, notes)


def _models(models: Sequence[Row]) -> Table:
    columns = (
        *text_columns("model"), *number_columns("stage 1", "stage 2"),
        *number_columns("multiply-adds", unit="10^9"),
    )  # fmt: skip
    cells = [
        [
            item["name"],
            "own size" if item["own_size"] else _size(item["stage1"]),
            "-" if item["stage2"] is None else _size(item["stage2"]),
            units.figure(item["multiply_adds"] / 1e9),
        ]
        for item in models
    ]
    return Table("Multiply-adds of a mean image", columns, cells)


def _size(size: Sequence[int]) -> str:
    height, width = size
    return units.size({"height": height, "width": width})
