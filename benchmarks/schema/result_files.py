"""Results on disk: one numbered JSON schema, written by every benchmark and read by the report.

``docs/benchmarks.md`` describes every field. Times are in milliseconds and their names end in
``_ms``; ratios and shares have no unit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from foveate.benchmarks.schema.machine import machine_facts, producer, versions
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.errors import BundleError, DataError
from foveate.runtime.json_files import check_shape, read_json

SCHEMA = 1
KINDS = ("parity", "latency", "throughput", "compare", "pareto")
STAGES = ("decode", "h2d", "execute", "d2h", "encode")
"""Stages of a latency run, from file to file."""
FILE_STAGES = ("decode", "engine", "encode")
"""Stages of a throughput run over files."""
_SHAPE = {
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


def provenance() -> dict[str, Any]:
    """Return when, by which foveate and on what something is measured, as JSON values."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "foveate": producer(),
        "machine": machine_facts(),
        "versions": versions(),
    }


def new_result(
    kind: str,
    command: str,
    bundle: Bundle,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    parity: Mapping[str, Any],
    results: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """Return a result with everything it was measured on, ready to be written."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "command": command,
        **provenance(),
        "model": model_facts(bundle),
        "data": dict(data),
        "settings": dict(settings),
        "parity": dict(parity),
        "results": dict(results),
        "warnings": warnings,
    }


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """Return which bundle it is and what decides its speed, as JSON values."""
    manifest, spec = bundle.manifest, bundle.spec
    files: Mapping[str, Any] = manifest["files"]
    return {
        "name": bundle.path.resolve().name,
        "sha256": bundle.content_sha256,
        "graphs": {name: item["sha256"] for name, item in files.items() if name.endswith(".onnx")},
        "network": dict(manifest["network"]),
        "stage1": _size(spec.stage1),
        "stage2": None if spec.stage2 is None else _size(spec.stage2),
        "own_size": bool(spec.pad_multiple),
        "classes": list(spec.classes),
        "input_type": spec.input_type,
        "data": dict(manifest["data"]),
    }


def _size(size: Any) -> list[int]:
    return [size.height, size.width]


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, atomically. Numbers are finite; lists of numbers stay on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(_lines(result, 0)) + "\n"
    write_atomically(path, text.encode())


def _lines(value: Any, depth: int) -> Iterator[str]:
    """Yield JSON text, indented, but with lists of plain values on one line."""
    flat = isinstance(value, list | tuple) and not any(
        isinstance(item, dict | list | tuple) for item in value
    )
    if flat or not value or not isinstance(value, dict | list | tuple):
        yield json.dumps(value, allow_nan=False)
        return
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    is_object = isinstance(value, dict)
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    yield "{" if is_object else "["
    for number, (name, item) in enumerate(pairs):
        yield ("," if number else "") + inner
        if is_object:
            yield json.dumps(name) + ": "
        yield from _lines(item, depth + 1)
    yield outer + ("}" if is_object else "]")


def read_result(path: Path) -> dict[str, Any]:
    """Return a result; DataError when the file is not one, or is of another schema."""
    try:
        result = read_json(path, "a result of foveate benchmark --out")
        check_shape(path, {"schema": result.get("schema")}, {"schema": int})
        if result["schema"] != SCHEMA:
            raise DataError(
                f"{path}: schema {result['schema']}; this version reads schema {SCHEMA}. Use the "
                "version that wrote it, or measure again"
            )
        check_shape(path, result, _SHAPE)
        if result["kind"] not in KINDS:
            raise DataError(f'{path}: kind "{result["kind"]}"; expected one of {", ".join(KINDS)}')
    except BundleError as error:
        raise DataError(str(error)) from None
    return result


def listed(value: Any) -> list[Any]:
    """Return a part that may stand alone, be a list or be left out (null) as a list."""
    return value if isinstance(value, list) else [value] if value else []
