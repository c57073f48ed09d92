"""The figures at the top of a model's part of the report, each with what it was measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foveate.benchmarks.report.model_results import ModelResults
from foveate.benchmarks.report.table import with_spread
from foveate.benchmarks.report.tables.parity import mark
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import listed

Fact = tuple[str, str, str]


def headlines(model: ModelResults) -> list[Fact]:
    """Return (name, value, note) of the newest result of each kind."""
    return [*_latency(model), *_throughput(model), *_quality(model)]


def _parity(parity: Mapping[str, Any], variant: str) -> str:
    return f"parity {mark(parity, variant).text}"


def _latency(model: ModelResults) -> Iterator[Fact]:
    """Yield latency and overhead at batch 1, of the row that stands first."""
    file = model.newest("latency")
    rows = [] if file is None else file.result["results"]["rows"]
    row = next((item for item in rows if item["batch"] == 1), None)
    if file is not None and row is not None:
        call, what = row["call"], f"{row['variant']}, {units.size(row)}"
        state = _parity(file.parity, row["variant"])
        note = f"{what}; p99 {units.figure(call['p99_ms'])} ms, n {call['n']}; {state}"
        yield "Median latency, batch 1", f"{units.figure(call['median_ms'])} ms", note
        yield (
            "Runtime's own time, share of the engine's", f"{100 * row['own']['median']:.1f}%",
            f"{what}; a call takes {with_spread(row['overhead'])} times the baseline, round by "
            "round",
        )  # fmt: skip


def _throughput(model: ModelResults) -> Iterator[Fact]:
    file = model.newest("throughput")
    if file is None:
        return
    results = file.result["results"]
    if results["grid"]:
        best = max(results["grid"], key=lambda row: float(row["images_per_second"]))
        yield (
            "Images/s, arrays", units.figure(best["images_per_second"]),
            f"{best['variant']}, batch {best['batch']}, {units.count(best['workers'], 'worker')}; "
            f"{_parity(file.parity, best['variant'])}",
        )  # fmt: skip
    for files in listed(results.get("files")):
        yield (
            "Images/s, files", units.figure(files["images_per_second"]),
            f"{units.percent(files['share']['median'])} of the ceiling; "
            f"bottleneck {files['bottleneck']}; {_parity(file.parity, files['variant'])}",
        )  # fmt: skip


def _quality(model: ModelResults) -> Iterator[Fact]:
    """Yield Dice and disagreement of the first variant whose parity was measured."""
    kinds = ("parity", "compare", "latency", "throughput")
    found = [file for kind in kinds if (file := model.newest(kind)) and file.parity]
    if not found:
        return
    variant, row = next(iter(found[0].parity.items()))
    images = f"{units.count(row['images'], 'image')} of {found[0].result['data']['name']}"
    against = f"{variant} against {row['reference']}, {images}"
    if row["dice"] is not None:
        reference = f"; reference {units.dice(row.get('dice_reference'))}"
        yield "Target Dice", units.dice(row["dice"]), against + reference
    yield (
        "Disagreement", units.disagreement(row["disagreement"]),
        f"{against}; {_parity(found[0].parity, variant)}",
    )  # fmt: skip
