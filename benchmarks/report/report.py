"""``foveate benchmark report``: one page of result files, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foveate.benchmarks.report.model_results import by_model, read_file
from foveate.benchmarks.report.report_page import write_page


@dataclass(frozen=True)
class Report:
    """The page that was written, and what a reader must not believe of it, by file."""

    page: Path
    doubts: tuple[str, ...]


def write_report(paths: Sequence[Path], out: Path) -> Report:
    """Write index.html and its plots to ``out`` and return the page and its doubts.

    Every file is read before anything is written; DataError when one is no result.
    """
    files = [read_file(path) for path in paths]
    out.mkdir(parents=True, exist_ok=True)
    page = out / "index.html"
    write_page(page, by_model(files))
    return Report(page, tuple(f"{file.name}: {text}" for file in files for text in file.doubts))
