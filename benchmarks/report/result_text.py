"""A result as tables, and those as text for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from foveate.benchmarks.report.glossary import IN_TERMINAL, TERMS
from foveate.benchmarks.report.table import Table
from foveate.benchmarks.report.tables.compare import compare_tables
from foveate.benchmarks.report.tables.latency import latency_tables
from foveate.benchmarks.report.tables.pareto import pareto_tables
from foveate.benchmarks.report.tables.parity import parity_tables
from foveate.benchmarks.report.tables.throughput import throughput_tables

Results = Mapping[str, Any]
TABLES: dict[str, Callable[[Results, Results], list[Table]]] = {
    "compare": compare_tables,
    "pareto": pareto_tables,
    "latency": latency_tables,
    "throughput": throughput_tables,
    "parity": parity_tables,
}
"""Kind of result -> its tables, of its results and its parity; in the order of the page."""


def result_tables(result: Results) -> list[Table]:
    """Return the tables of a result, as terminal and page show them."""
    return TABLES[result["kind"]](result["results"], result_parity(result))


def result_parity(result: Results) -> Mapping[str, Any]:
    """Return parity by variant; a parity result has it as its own result."""
    parity = result["results"]["variants"] if result["kind"] == "parity" else result["parity"]
    return dict(parity)


def result_text(result: Results) -> str:
    """Return what the terminal shows of a result, the parts apart."""
    machine, data = result["machine"], result["data"]
    head = (
        f"{result['model']['name']} on {data['name']}, {data['images']} images; {machine['cpu']}, "
        f"{machine['cores']} cores" + "".join(f", {gpu['name']}" for gpu in machine["gpus"])
    )
    terms = [
        textwrap.fill(f"{term}: {TERMS[term]}", 100, subsequent_indent="  ")
        for term in IN_TERMINAL[result["kind"]]
    ]
    warnings = [f"Warning: {text}" for text in result["warnings"]]
    tables = [table.as_text() for table in result_tables(result)]
    parts = ["\n".join([head, *warnings]), *tables, "\n".join(terms)]
    return "\n\n".join(part for part in parts if part)
