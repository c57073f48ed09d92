"""Parity in the report: the table of a result, and the mark that stands beside every speed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report import pages
from foveate.benchmarks.report.model_results import ResultFile
from foveate.benchmarks.report.pages import Cell
from foveate.benchmarks.schema import units

HELD, LOST, UNKNOWN = "held", "NOT HELD", "NOT MEASURED"
_HEAD = (
    "variant", "parity", "disagreement", "at most", "Dice", "reference's", "change",
    "empty on one side", "moved boxes", "worst image", "its disagreement", "images", "reference",
)  # fmt: skip


def mark(parity: Mapping[str, Any], variant: str) -> Cell:
    """Return whether the masks behind a speed are the reference's."""
    if variant not in parity:
        return Cell(UNKNOWN, "poor")
    return Cell(HELD, "good") if parity[variant]["held"] else Cell(LOST, "poor")


def parity_table(parity: Mapping[str, Any]) -> str:
    """Return the parity of every variant of a result as HTML."""
    if not parity:
        return '<p class="poor">No parity was measured: the masks may be anything.</p>'
    return pages.table(_HEAD, [_row(parity, name) for name in parity])


def _row(parity: Mapping[str, Any], variant: str) -> list[str | Cell]:
    row = parity[variant]
    change, worst = row["dice_change"], row["worst_disagreement"]
    return [
        variant,
        mark(parity, variant),
        units.disagreement(row["disagreement"]),
        f"{row['disagreement_bound']:g}",
        units.dice(row["dice"]),
        units.dice(row["dice_reference"]),
        "-" if change is None else f"{change:+.4f}",
        str(len(row["emptiness_flips"])),
        str(len(row["moved_boxes"])),
        str(row.get("worst_image") or "-"),
        units.disagreement(worst),
        str(row["images"]),
        row["reference"],
    ]


def parity_section(file: ResultFile) -> str:
    """Return a parity result as HTML: its table, and what was left out."""
    return f"<h3>Parity</h3>{parity_table(file.parity)}" + skipped(file.result["results"])


def skipped(results: Mapping[str, Any]) -> str:
    """Return what was not measured, and why, as HTML."""
    items: Sequence[tuple[str, Any]] = list((results.get("skipped") or {}).items())
    return reasons("Not measured here", [(name, str(reason)) for name, reason in items])


def reasons(title: str, items: Sequence[tuple[str, str]]) -> str:
    """Return a list of names, each with a text, as HTML; nothing for none."""
    if not items:
        return ""
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in items
    )
    return f"<h4>{html.escape(title)}</h4><dl>{rows}</dl>"
