"""What ``gpu_check.py`` is made of: processes with a limit, and the aims from result files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

OURS = "tensorrt fp16"
PRECISIONS = {"tensorrt fp32", "tensorrt tf32", OURS}
SETS = 3
P50_MS, OF_CEILING, OVER_TORCH = 0.5, 0.95, 3.0
Results = Sequence[Mapping[str, Any]]
END_S = 2.0
"""What a process has to end in after it was interrupted at its limit."""


def aims(results: Results) -> list[dict[str, Any]]:
    """Return each aim with its value; None where it was not measured, or its masks do not hold."""
    found = [
        _aim("p50 of one 1024x1024 image, fp16, latency mode, in ms", _p50(results), P50_MS, True),
        _aim("fp16, share of the ceiling, worst batch", _share(results), OF_CEILING),
    ]
    for batch in (1, 8):
        words = f"fp16, best PyTorch's time / ours, {batch} a call"
        found.append(_aim(words, _over_torch(results, batch), OVER_TORCH))
    lost = _lost(results)
    return [*found, _aim("fp32, tf32, fp16 on three sets: masks that do not hold", lost, 0, True)]


def _aim(name: str, value: float | None, bound: float, at_most: bool = False) -> dict[str, Any]:
    met = None if value is None else value <= bound if at_most else value >= bound
    return {"aim": name, "value": value, "bound": bound, "at_most": at_most, "met": met}


def _held(results: Results, kind: str) -> list[Mapping[str, Any]]:
    """Return the results of a kind where our masks hold."""
    own = [result for result in results if result["kind"] == kind]
    held = [item for item in own if item["parity"].get(OURS, {}).get("held")]
    return [item["results"] for item in held]


def _p50(results: Results) -> float | None:
    rows = [row for found in _held(results, "latency") for row in found["rows"]]
    return min(
        (
            row["call"]["median_ms"]
            for row in rows
            if row["variant"] == OURS
            and (row["batch"], row["height"], row["width"]) == (1, 1024, 1024)
        ),
        default=None,
    )


def _share(results: Results) -> float | None:
    rows = [row for found in _held(results, "throughput") for row in found["ceilings"]]
    same = [row for row in rows if row["disagreement"] <= row["disagreement_bound"]]
    shares = [row["of_ceiling"]["median"] for row in same if row["variant"] == OURS]
    return min(shares, default=None)


def _over_torch(results: Results, batch: int) -> float | None:
    """Return the smallest ratio of a PyTorch on the GPU to our time, where we are TensorRT."""
    found = [item for item in _held(results, "compare") if item["batch"] == batch]
    methods = [method for item in found for method in item["methods"] if method["here"]]
    if not any(item["key"] == "foveate" and item["name"].endswith(OURS) for item in methods):
        return None
    theirs = [item["ratio"]["median"] for item in methods if item["key"].startswith("gpu-torch")]
    return min(theirs, default=None)


def _lost(results: Results) -> float | None:
    """Return how many masks of a precision on a set do not hold; None unless all were compared."""
    rows = [result["parity"] for result in results if result["kind"] == "parity"]
    sets = [row for row in rows if set(row) >= PRECISIONS]
    if len(sets) < SETS:
        return None
    return sum(not row[name]["held"] for row in sets for name in PRECISIONS)


def run_limited(words: Sequence[str], limit_s: float) -> tuple[str, str, float]:
    """Run ``python -m WORDS``; return what it came to, what it said, and the seconds it took.

    It comes to passed, failed with its exit code, or stopped. What it leaves running is killed.
    """
    status, command = f"stopped after {limit_s:.0f} s", [sys.executable, "-m", *words]
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            status = f"failed with {code}" if code else "passed"
        except subprocess.TimeoutExpired:  # pytest writes its XML when it is interrupted
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S - 1)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that hangs in a driver stays
                process.wait(0.5)
        said.seek(0)
        text = said.read().decode(errors="replace")
        return status, text, round(time.monotonic() - began, 1)
