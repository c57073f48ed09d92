"""The files of an evaluation: every image and object as CSV, the figures as summary.json."""

from __future__ import annotations

import csv
import io
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

import foveate
from foveate.benchmarks.evaluation import bootstrap, calibration, objects
from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.metrics import NAMES
from foveate.benchmarks.evaluation.models import EvaluationJob
from foveate.benchmarks.evaluation.summary import LOST_SHARE, Line, Summary
from foveate.benchmarks.evaluation.sweep import SweepLine
from foveate.runtime.atomic_files import write_atomically

Cell = str | int | float | None
SCHEMA = 1


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


def write_sweep_csv(path: Path, lines: Sequence[SweepLine]) -> None:
    """Write one line per threshold and class; the mean over the classes is called ``mean``."""
    header = ["class", *[item.name for item in fields(SweepLine)][1:]]
    _write_csv(path, header, (astuple(line) for line in lines))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(cell) for cell in row])
    data = text.getvalue().encode("utf-8", "backslashreplace")
    write_atomically(path, data)


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return str(int(value) if isinstance(value, bool) else value)


def summary_json(job: EvaluationJob, found: Evaluation, summary: Summary) -> dict[str, Any]:
    """Return ``summary.json``: figures, settings, and what they were measured on and with."""
    values = {
        "schema": SCHEMA,
        "model": asdict(job.model.identity),
        "single": asdict(job.single.identity) if job.single else None,
        "data": {
            "name": job.dataset.root.resolve().name,
            "fingerprint": job.dataset.fingerprint,
            "images": summary.images,
            "groups": summary.groups,
        },
        "settings": {
            "tolerance_pixels": job.tolerance,
            "pixel_size": str(job.pixel_size) if job.pixel_size else None,
            "decision": job.decision.as_dict(),
            "interval": bootstrap.LEVEL,
            "resamples": bootstrap.RESAMPLES,
            "seed": bootstrap.SEED,
            "object_found_share": objects.FOUND_SHARE,
            "lost_share": LOST_SHARE,
            "calibration_bins": calibration.BINS,
        },
        "versions": _versions(),
        "machine": platform.machine(),
        "figures": [_line(line) for line in summary.lines],
        "differences": [_line(line) for line in summary.differences],
        "objects": [{**asdict(item), "recall": item.recall} for item in summary.objects],
        "objects_by_size": [{**asdict(item), "recall": item.recall} for item in summary.sizes],
        "coarse_miss": asdict(summary.missed) if summary.missed else None,
        "calibration": [
            {
                "method": method,
                "ece": summary.ece[method],
                "bins": [asdict(item) for item in found.reliability[method].table()],
            }
            for method in found.methods
        ],
        "sweep": [asdict(line) for line in summary.sweep],
    }
    cleaned = _without_nan(values)
    assert isinstance(cleaned, dict)
    return cleaned


def _line(line: Line) -> dict[str, Any]:
    figures = {name: asdict(item) for name, item in line.figures.items()}
    if line.against:
        return {"method": line.method, "against": line.against, "class": line.name, **figures}
    counts = {"images": line.images, "both_empty": line.both_empty}
    return {"method": line.method, "class": line.name, **figures, **counts}


def _versions() -> dict[str, str]:
    return {
        "foveate": foveate.__version__,
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        **{name: version(name) for name in ("numpy", "surface-distance", "scipy")},
    }


def _without_nan(value: Any) -> Any:
    """Return JSON values with null for every NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
