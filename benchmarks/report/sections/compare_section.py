"""A comparison in the report: every method beside foveate, what is missing, and where time goes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.compare.comparison import summarise_comparison
from foveate.benchmarks.report import pages, plots
from foveate.benchmarks.report.album import Album
from foveate.benchmarks.report.model_results import ResultFile
from foveate.benchmarks.report.pages import Cell
from foveate.benchmarks.report.sections.parity_section import UNKNOWN, parity_table, reasons
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_shapes import listed

Method = Mapping[str, Any]
_HEAD = (
    "method", "median ms", "p99 ms", "images/s", "time / foveate's", "10% to 90%", "Dice",
    "alarms", "disagreement",
)  # fmt: skip


def compare_section(file: ResultFile, album: Album) -> str:
    """Return a comparison as HTML."""
    results = file.result["results"]
    methods, batch = results["methods"], results.get("batch", 1)
    here = sorted((i for i in methods if i["here"]), key=lambda item: item["ms"]["median_ms"])
    missing = [(item["name"], item["reason"]) for item in methods if not item["here"]]
    plot = plots.dice_against_rate(methods, batch)
    words = "".join(
        f'<p class="{style}">{html.escape(text)}</p>'
        for style, text in summarise_comparison(methods)
    )
    figure = album.figure("dice-against-speed", plot, "Up and to the right is better.")
    return (
        f"<h3>Compared with others</h3>{words}"
        f'<div class="plots">{figure}</div>'
        f"{pages.table(_HEAD, [_row(item, batch) for item in here])}"
        f"<p>{units.count(batch, 'image')} a call, all methods interleaved"
        f"{_rounds(results)}; images/s is {1000 * batch} / median ms.</p>"
        f"{reasons('Not measured here', missing)}"
        f"{reasons('How each was run', [(item['name'], item['how']) for item in here])}"
        f"{_parts(listed(results.get('parts')))}"
        f"{_multiply_adds(results.get('multiply_adds') or {})}"
        f"<h4>Parity</h4>{parity_table(file.parity)}"
    )


def _rounds(results: Mapping[str, Any]) -> str:
    rounds = results.get("rounds")
    return f" in {units.count(rounds, 'round')}" if isinstance(rounds, int) else ""


def _row(item: Method, batch: int) -> list[str | Cell]:
    ours = item["key"] == "foveate"
    apart = item["disagreement"]
    disagreement = Cell(UNKNOWN, "poor") if apart is None else units.disagreement(apart)
    return [
        Cell(item["name"], "ours") if ours else item["name"],
        units.figure(item["ms"]["median_ms"]),
        units.figure(item["ms"]["p99_ms"]),
        _rate(item["ms"]["median_ms"], batch),
        "1" if ours else units.ratio(item["ratio"]),
        "-" if ours else units.spread(item["ratio"]),
        units.dice(item["dice"]),
        str(item["false_alarms"]),
        disagreement,
    ]


def _rate(median_ms: float, batch: int) -> str:
    return units.figure(1000 * batch / median_ms) if median_ms > 0 else "-"


def _parts(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return what the time is made of."""
    if not parts:
        return ""
    rows = [
        [
            item["name"], units.figure(item["ms"]["median_ms"]), units.ratio(item["ratio"]),
            units.spread(item["ratio"]),
        ]
        for item in parts
    ]  # fmt: skip
    head = ("part", "median ms", "time / foveate's", "10% to 90%")
    return f"<h4>What the time is made of</h4>{pages.table(head, rows)}"


def _multiply_adds(counts: Mapping[str, Any]) -> str:
    """Return the multiply-adds of one image."""
    if not counts:
        return ""
    rows = [[name, units.figure(value / 1e9)] for name, value in counts.items()]
    head = ("network", "multiply-adds, 10^9")
    return f"<h4>Multiply-adds of one image</h4>{pages.table(head, rows)}"
