"""Parity: the table of a result, and the mark that stands next to every speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns
from foveate.benchmarks.schema import units

HELD, LOST, UNKNOWN = "held", "NOT HELD", "NOT MEASURED"
_COLUMNS = (
    *text_columns("variant", "parity"),
    *number_columns(
        "disagreement", "bound", "target Dice", "reference's", "change", "empty", "moved"
    ),
)


def mark(parity: Mapping[str, Any], variant: str) -> Cell:
    """Return whether the masks behind a speed are the reference's."""
    if variant not in parity:
        return Cell(UNKNOWN, "poor")
    return Cell(HELD, "good") if parity[variant]["held"] else Cell(LOST, "poor")


def parity_table(parity: Mapping[str, Any]) -> Table:
    """Return the parity of every variant of a result, its reference and worst images."""
    if not parity:
        words = "No parity was measured: the masks may be anything."
        return Table("Parity", _COLUMNS, [], [Cell(words, "poor")])
    rows = [_row(parity, variant) for variant in parity]
    found = [(row["reference"], units.count(row["images"], "image")) for row in parity.values()]
    notes = [f"Reference: {name}, {images}." for name, images in dict.fromkeys(found)]
    notes += [
        f"Worst image of {variant}: {row['worst_image']}, disagreement "
        f"{units.disagreement(row['worst_disagreement'])}."
        for variant, row in parity.items()
        if row.get("worst_image")
    ]
    return Table("Parity", _COLUMNS, rows, notes)


def _row(parity: Mapping[str, Any], variant: str) -> list[str | Cell]:
    row = parity[variant]
    change = row["dice_change"]
    return [
        variant,
        mark(parity, variant),
        units.disagreement(row["disagreement"]),
        f"{row['disagreement_bound']:g}",
        units.dice(row["dice"]),
        units.dice(row["dice_reference"]),
        "-" if change is None else f"{change:+.5f}",
        str(len(row["emptiness_flips"])),
        str(len(row["moved_boxes"])),
    ]


def parity_tables(results: Mapping[str, Any], parity: Mapping[str, Any]) -> list[Table]:
    """Return what ends every result: its parity, and the variants that did not run."""
    skipped = results.get("skipped") or {}
    return [parity_table(parity), *not_measured(list(skipped.items()))]


def not_measured(items: Sequence[tuple[str, str]]) -> list[Table]:
    """Return a table of what was not measured and why, one row a reason; none for nothing."""
    names: dict[str, list[str]] = {}
    for name, reason in items:
        names.setdefault(reason, []).append(name)
    rows = [[", ".join(found), str(reason)] for reason, found in names.items()]
    return [Table("Not measured here", text_columns("what", "why"), rows)] if rows else []
