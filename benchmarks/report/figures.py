"""Which plots stand beneath which table of a result, each with its caption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from foveate.benchmarks.report import plots
from foveate.benchmarks.report.tables import compare, latency, pareto, throughput
from foveate.benchmarks.report.tables.parity import mark
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import listed

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A plot beneath the table with the title ``table``; ``name`` is that of its file."""

    table: str
    name: str
    png: bytes
    caption: str


def result_figures(kind: str, results: Results, parity: Results) -> list[Figure]:
    """Return the plots of a result."""
    if kind == "compare":
        return list(_compare(results))
    if kind == "pareto":
        return [_pareto(results)]
    if kind == "latency":
        return [*_latency(results, parity), *_offered_load(results, parity)]
    return list(_files(results)) if kind == "throughput" else []


def _compare(results: Results) -> Iterator[Figure]:
    png = plots.dice_against_rate(results["methods"], results.get("batch", 1))
    if png is not None:
        words = "Up and to the right is better."
        yield Figure(compare.METHODS, "dice-against-speed", png, words)


def _pareto(results: Results) -> Figure:
    png = plots.dice_against_time(pareto.fastest_first(results["rows"]))
    words = (
        "Up and to the left is better. The line is the Pareto front, bars are the 10th to 90th "
        "percentile of the times."
    )
    return Figure(pareto.POINTS, "dice-against-time", png, words)


def _latency(results: Results, parity: Results) -> Iterator[Figure]:
    for number, row in enumerate(results["rows"], 1):
        state = f"Parity {mark(parity, row['variant']).text}."
        words = f"Share of runs that took at most so long, diamonds at p50 and p99. {state}"
        png = plots.latency_distribution(row)
        yield Figure(latency.TIMES, f"latency-{number}", png, words)
        files = units.count(row["batch"], "file")
        words = f"Medians of the stages, {files} at a time. {state}"
        yield Figure(latency.STAGE_TIMES, f"stages-{number}", plots.stage_bars(row), words)


def _offered_load(results: Results, parity: Results) -> Iterator[Figure]:
    loads = listed(results.get("offered_load"))
    for variant in dict.fromkeys(load["variant"] for load in loads):
        png = plots.offered_load([load for load in loads if load["variant"] == variant])
        state = f"Parity {mark(parity, variant).text}."
        words = f"Response counts from the moment a request was due. {state}"
        if png is not None:
            yield Figure(latency.OFFERED_LOAD, "offered-load", png, words)


def _files(results: Results) -> Iterator[Figure]:
    for files in listed(results.get("files")):
        words = "What each stage could do alone; the slowest holds the others back."
        yield Figure(throughput.FILES, "files", plots.file_stages(files), words)
