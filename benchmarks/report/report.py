"""``foveate benchmark report``: one page of result files; what not to believe stands first."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import foveate
from foveate.benchmarks.report import page
from foveate.benchmarks.report.figures import Figure, result_figures
from foveate.benchmarks.report.glossary import TERMS
from foveate.benchmarks.report.headlines import headlines
from foveate.benchmarks.report.model_results import (
    ModelResults,
    ResultFile,
    by_model,
    complete,
    read_file,
)
from foveate.benchmarks.report.provenance import provenance
from foveate.benchmarks.report.result_text import TABLES
from foveate.benchmarks.report.table import Table
from foveate.benchmarks.report.tables.compare import how_table
from foveate.benchmarks.schema.consistency import fails
from foveate.runtime.atomic_files import write_atomically

INCONCLUSIVE = "Inconclusive: the machine was busy; measure again when it is not"


@dataclass(frozen=True)
class Report:
    """The page that was written, and by file what not to believe of it and what is open.

    ``lost``: variants whose masks differ; ``fails``: whether the command exits with 1.
    """

    page: Path
    issues: tuple[str, ...]
    inconclusive: tuple[str, ...]
    lost: tuple[str, ...]
    fails: bool


def write_report(paths: Sequence[Path], out: Path) -> Report:
    """Write index.html and its plots to ``out`` and return the page and its issues.

    All is rendered before anything is written; DataError when a file is not a whole result.
    """
    files = [read_file(path) for path in paths]
    models = by_model(files)
    doubted = ", ".join(file.name for file in files if file.issues)
    issues = [f"{file.name}: {text}" for file in files for text in file.issues]
    lost = [f"{file.name}: {text}" for file in files for text in file.lost.values()]
    variants = ", ".join(dict.fromkeys(name for file in files for name in file.lost))
    inconclusive = [f"{file.name}: {text}" for file in files for text in file.inconclusive]
    warnings = [f"{file.name}: {text}" for file in files for text in file.result["warnings"]]
    plots: list[tuple[str, bytes]] = []
    values = {
        "title": html.escape(
            "Benchmarks of " + ", ".join(dict.fromkeys(model.name for model in models))
        ),
        "issues": _box("issues", f"Do not believe the figures of {doubted}", issues),
        "lost": _box("issues", f"Masks differ: do not use {variants}", lost),
        "inconclusive": _box("warnings", INCONCLUSIVE, inconclusive),
        "warnings": _box("warnings", "What may disturb or limit the figures", warnings),
        "models": "".join(_model(model, plots) for model in models),
        "files": "".join(provenance(file) for model in models for file in model.files),
        "glossary": page.definitions(TERMS),
        "version": html.escape(f"Page written by foveate {foveate.__version__}."),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, png in plots:
        write_atomically(out / name, png)
    page.write_page(out / "index.html", "benchmarks.html", values)
    failed = any(fails(file.result) for file in files)
    return Report(out / "index.html", tuple(issues), tuple(inconclusive), tuple(lost), failed)


def _box(style: str, title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="box {style}"><b>{html.escape(title)}</b><ul>{items}</ul></div>'


def _model(model: ModelResults, plots: list[tuple[str, bytes]]) -> str:
    parts = [f"<h2>{html.escape(f'{model.name} on {model.data}')}</h2>"]
    parts.append(f'<div class="facts">{page.fact_tiles(headlines(model))}</div>')
    parts += [_file(file, plots) for kind in TABLES for file in model.of(kind)]
    return f"<section>{''.join(parts)}</section>"


def _file(file: ResultFile, plots: list[tuple[str, bytes]]) -> str:
    """Return the tables of a file as HTML, each with its plots, which are added to ``plots``."""
    result = file.result
    with complete(file.name, result):
        figures = result_figures(file.kind, result["results"], file.parity)
        tables = [*file.tables, *([how_table(result["results"])] if file.kind == "compare" else [])]
    return _source(file) + "".join(_with_plots(item, figures, plots) for item in tables)


def _with_plots(table: Table, figures: Sequence[Figure], plots: list[tuple[str, bytes]]) -> str:
    shown = [figure for figure in figures if figure.table == table.title]
    for figure in shown:
        plots.append((f"{len(plots) + 1:02}-{figure.name}.png", figure.png))
    pictures = "".join(page.plot(figure.png, figure.caption) for figure in shown)
    return table.as_html() + (f'<div class="plots">{pictures}</div>' if pictures else "")


def _source(file: ResultFile) -> str:
    """Return which file the figures beneath come from, and what it was measured on."""
    result = file.result
    doubt = file.issues or file.lost
    doubted = '<span class="poor">Doubted, see the top of the page.</span>' if doubt else ""
    text = (
        f"{file.name}: {result['data']['images']} images of {result['data']['name']}, "
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores, {result['created'][:10]}."
    )
    return f'<p class="source">{html.escape(text)} {doubted}</p>'
