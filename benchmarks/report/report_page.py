"""The page of a report: doubts and warnings first, then each model's figures with their parity."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import foveate
from foveate.benchmarks.report import pages
from foveate.benchmarks.report.album import Album
from foveate.benchmarks.report.model_results import ModelResults, ResultFile
from foveate.benchmarks.report.sections.compare_section import compare_section
from foveate.benchmarks.report.sections.glossary import TERMS
from foveate.benchmarks.report.sections.headlines import headlines
from foveate.benchmarks.report.sections.latency_section import latency_section
from foveate.benchmarks.report.sections.parity_section import parity_section
from foveate.benchmarks.report.sections.provenance import provenance
from foveate.benchmarks.report.sections.throughput_section import throughput_section

Section = Callable[[ResultFile, Album], str]
SECTIONS: dict[str, Section] = {
    "compare": compare_section,
    "latency": latency_section,
    "throughput": throughput_section,
    "parity": lambda file, album: parity_section(file),
}
"""In the order of the page."""


def write_page(path: Path, models: Sequence[ModelResults]) -> None:
    """Write one self-contained HTML page, and its plots as PNG beside it."""
    files = [file for model in models for file in model.files]
    album = Album(path.parent)
    values = {
        "title": html.escape("Benchmarks of " + ", ".join(model.name for model in models)),
        "doubts": _box("doubts", "Do not believe these figures", _named(files, "doubts")),
        "warnings": _box("warnings", "What may disturb or limit them", _named(files, "warnings")),
        "models": "".join(_model(model, album) for model in models),
        "files": "".join(map(provenance, files)),
        "glossary": "".join(
            f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in TERMS
        ),
        "version": html.escape(f"Page written by foveate {foveate.__version__}."),
    }
    pages.write_page(path, "benchmarks.html", values)


def _named(files: Sequence[ResultFile], what: str) -> list[str]:
    """Return the doubts or warnings of all files, each with its file's name."""
    return [
        f"{file.name}: {text}"
        for file in files
        for text in (file.doubts if what == "doubts" else file.result["warnings"])
    ]


def _box(style: str, title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="box {style}"><b>{html.escape(title)}</b><ul>{items}</ul></div>'


def _model(model: ModelResults, album: Album) -> str:
    parts = [f"<h2>{html.escape(model.name)}</h2>"]
    parts.append(f'<div class="facts">{pages.fact_tiles(headlines(model))}</div>')
    for kind, section in SECTIONS.items():
        for file in model.of(kind):
            parts.append(_source(file) + section(file, album))
    return f"<section>{''.join(parts)}</section>"


def _source(file: ResultFile) -> str:
    """Return which file the figures beneath come from, and what it was measured on."""
    result = file.result
    doubted = '<span class="poor">Doubted, see the top of the page.</span>' if file.doubts else ""
    text = (
        f"{file.name}: {result['data']['images']} images of {result['data']['name']}, "
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores, {result['created'][:10]}."
    )
    return f'<p class="source">{html.escape(text)} {doubted}</p>'
