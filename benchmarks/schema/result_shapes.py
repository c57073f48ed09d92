"""The shape of a result file: the names that must be there and the type of each.

Read by ``foveate.benchmarks.schema.result_files``; ``docs/benchmarks.md`` says what every field
means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import check_shape

TIMES = {
    "n": int, "min_ms": float, "median_ms": float, "mean_ms": float, "p90_ms": float,
    "p95_ms": float, "p99_ms": float, "max_ms": float, "cv": float, "samples_ms": [float],
}  # fmt: skip
RATIO = {"median": float, "low": float, "high": float}
WARM_UP = {"runs": int, "stable": bool}
STAGES = ("decode", "h2d", "execute", "d2h", "encode")
FILE_STAGES = ("decode", "engine", "encode")

RESULT = {
    "schema": int,
    "kind": str,
    "created": str,
    "command": str,
    "foveate": {"version": str},
    "machine": {"cpu": str, "cores": int, "gpus": list},
    "versions": dict,
    "model": {"name": str, "sha256": str, "graphs": dict, "stage1": [int]},
    "data": {"name": str, "images": int, "sizes": [[int]]},
    "settings": dict,
    "parity": dict,
    "results": dict,
    "warnings": [str],
}
PARITY = {
    "reference": str, "images": int, "disagreement": float, "disagreement_bound": float,
    "emptiness_flips": [str], "moved_boxes": [str], "held": bool,
}  # fmt: skip
LATENCY_ROW = {
    "variant": str, "threads": int, "batch": int, "height": int, "width": int,
    "warm_up": WARM_UP, "call": TIMES, "raw": TIMES, "overhead": RATIO, "own": RATIO,
    "stages": dict.fromkeys(STAGES, TIMES), "whole": TIMES, "elapsed_s": float,
}  # fmt: skip
COLD_START = {
    "variant": str, "runs": int, "python_ms": float, "import_ms": float, "load_ms": float,
    "first_mask_ms": float, "whole_ms": float,
}  # fmt: skip
OFFERED_LOAD = {
    "variant": str, "rate": float, "requests": int, "response": TIMES, "service": TIMES,
    "queue_max": int, "utilisation": float, "achieved_rate": float,
}  # fmt: skip
GRID_ROW = {
    "variant": str, "batch": int, "workers": int, "threads": int, "images_per_second": float,
    "raw_images_per_second": float, "share": RATIO,
}  # fmt: skip
FILES = {
    "variant": str, "batch": int, "images": int, "height": int, "width": int,
    "images_per_second": float, "ceiling_images_per_second": float, "share": RATIO,
    "stages": dict.fromkeys(FILE_STAGES, {"core_ms": float, "images_per_second": float}),
    "bottleneck": str, "bottleneck_share": float,
}  # fmt: skip
CEILINGS = {
    "variant": str, "batch": int, "height": int, "width": int, "lanes": int, "runs": int,
    "images_per_second": {
        "cascade": float, "with_transfers": float, "enqueue_one_stream": float,
        "enqueue_all_streams": float,
    },
    "of_ceiling": RATIO, "disagreement": float, "disagreement_bound": float,
}  # fmt: skip
ROOFLINE = {
    "height": int, "width": int, "peak_gflops": float, "copy_gb_s": float, "floor_ms": float,
    "measured_ms": float, "share": float,
    "parts": [{"part": str, "gflop": float, "mbyte": float, "floor_ms": float}],
}  # fmt: skip
METHOD = {
    "key": str, "name": str, "how": str, "ms": TIMES, "ratio": RATIO, "false_alarms": int,
    "warm_up": WARM_UP,
}  # fmt: skip
MISSING_METHOD = {"key": str, "name": str, "reason": str}
_NULLABLE = {"rows": ("memory_mb",), "cold_start": ("import_mb", "load_mb", "peak_mb")}
"""Figures of a latency result that the system may not tell."""


def listed(value: Any) -> list[Any]:
    """Return a part that may stand alone, be a list or be left out (null) as a list."""
    return value if isinstance(value, list) else [value] if value else []


def check_results(path: Path, kind: str, results: Mapping[str, Any]) -> None:
    """Raise BundleError unless ``results`` have the shape of their kind."""
    check_shape(path, results, _RESULTS[kind], "results")
    for name, shape in _OPTIONAL[kind].items():
        check_shape(path, listed(results.get(name)), [shape], f"results.{name}")
    if kind == "parity":
        check_parity(path, results["variants"], "results.variants")
    elif kind == "compare":
        _check_compare(path, results)
    for name, keys in _NULLABLE.items():
        for number, row in enumerate(listed(results.get(name)) if kind == "latency" else ()):
            _check_nullable(path, row, keys, f"results.{name}[{number}]")


_RESULTS: dict[str, Any] = {
    "parity": {"reference": str, "variants": dict},
    "latency": {"rows": [LATENCY_ROW]},
    "throughput": {"grid": [GRID_ROW], "files": dict},
    "compare": {"methods": [{"here": bool}]},
}
_OPTIONAL: dict[str, dict[str, Any]] = {
    "parity": {"skipped": dict},
    "latency": {"cold_start": COLD_START, "offered_load": OFFERED_LOAD, "skipped": dict},
    "throughput": {"files": FILES, "ceilings": CEILINGS, "roofline": ROOFLINE, "skipped": dict},
    "compare": {"parts": {"name": str, "ms": TIMES, "ratio": RATIO}, "multiply_adds": dict},
}
"""The parts of a kind that may be null or left out, with the shape of each."""


def _check_compare(path: Path, results: Mapping[str, Any]) -> None:
    for number, method in enumerate(results["methods"]):
        where = f"results.methods[{number}]"
        check_shape(path, method, METHOD if method["here"] else MISSING_METHOD, where)
        if method["here"]:
            _check_nullable(path, method, ("dice", "disagreement"), where)
    counts = results.get("multiply_adds") or {}
    check_shape(path, counts, dict.fromkeys(counts, float), "results.multiply_adds")


def check_parity(path: Path, parity: Mapping[str, Any], where: str = "parity") -> None:
    """Raise BundleError unless every variant's parity has the shape wanted."""
    check_shape(path, parity, dict.fromkeys(parity, PARITY), where)
    names = ("dice", "dice_reference", "dice_change", "worst_disagreement")
    for variant, row in parity.items():
        _check_nullable(path, row, names, f"{where}.{variant}")


def _check_nullable(path: Path, row: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raise BundleError unless each of the named values is a number or null."""
    for name in names:
        if name not in row:
            raise BundleError(f"{path}: has no {where}.{name}")
        if row[name] is not None:
            check_shape(path, row[name], float, f"{where}.{name}")
