"""What a soak test found: printed, and in a full run kept in ``benchmarks/results/soak``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.benchmarks.schema.result_files import provenance, write_result
from tests.soak import FULL

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "soak"


def record(name: str, found: Mapping[str, Any]) -> None:
    """Print the figures of a test, before they are judged; write them if the run is full."""
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}")
    if FULL:
        result = {
            "schema": 1,
            "kind": f"soak-{name}",
            **provenance(),
            "found": dict(found),
        }
        write_result(RESULTS / f"{name}.json", result)
