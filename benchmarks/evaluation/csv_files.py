"""The figures of every image and object as CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.metrics import NAMES
from foveate.runtime.atomic_files import write_atomically

Cell = str | int | float


def write_images_csv(path: Path, found: Evaluation) -> None:
    """Write one line per image, class and method; a cell is empty where a figure is undefined."""
    header = ["stem", "group", "class", "method", *NAMES, "truth_pixels", "truth_share"]
    header += ["predicted_pixels", "missed", "false_objects"]
    rows: Iterator[list[Cell]] = (
        [
            row.stem, found.groups[row.stem], found.classes[row.label - 1], row.method,
            *astuple(row.metrics), row.truth_pixels, row.truth_pixels / row.pixels,
            row.predicted_pixels, row.missed, row.false_objects,
        ]
        for row in found.rows
    )  # fmt: skip
    _write_csv(path, header, rows)


def write_objects_csv(path: Path, found: Evaluation) -> None:
    """Write one line per object of the truth and method."""
    header = ["stem", "class", "method", "object", "area", "x0", "y0", "x1", "y1"]
    header += ["covered", "found"]
    rows: Iterator[list[Cell]] = (
        [
            item.stem, found.classes[item.label - 1], item.method, item.number, item.area,
            *item.box_xyxy, item.covered, int(item.found),
        ]
        for item in found.objects
    )  # fmt: skip
    _write_csv(path, header, rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(cell) for cell in row])
    data = text.getvalue().encode("utf-8", "backslashreplace")
    write_atomically(path, lambda file: file.write(data))


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return str(value)
