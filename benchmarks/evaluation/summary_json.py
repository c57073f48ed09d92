"""``summary.json``: the figures, the settings, and what they were measured on and with."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import cv2

import foveate
from foveate.benchmarks.evaluation import bootstrap, calibration, objects
from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.job import Job
from foveate.benchmarks.evaluation.summary import LOST_SHARE, Found, Line, Summary

SCHEMA = 1


def as_json(job: Job, found: Evaluation, summary: Summary) -> dict[str, Any]:
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
        "objects": [{**asdict(item), "recall": _ratio(item)} for item in summary.objects],
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


def _ratio(item: Found) -> float:
    return item.found / item.objects if item.objects else float("nan")


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
