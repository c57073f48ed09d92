"""``benchmark latency``: stages that add up, load that queues, and times that are not believed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.benchmarks import measurements
from foveate.benchmarks.measure import cold_start, latency
from foveate.benchmarks.measure.latency import offered_load
from foveate.benchmarks.schema.consistency import find_issues
from foveate.benchmarks.schema.machine import OTHERS
from foveate.benchmarks.schema.result_files import read_result
from foveate.runtime.cascade import session as session_module
from tests.conftest import run

QUICK = (
    "--size", "256", "--count", "3", "--runs", "8", "--threads", "1",
    "--engines", "onnxruntime", "--precision", "fp32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "RUNS", 1)


def measure(bundle: Path, *more: object) -> tuple[int, dict[str, Any], str]:
    """Return exit code, result and error output of the command."""
    result = run("benchmark", "latency", bundle, *QUICK, *more, "--json")
    assert result.exception is None, result.output
    return result.return_value, json.loads(result.stdout), result.stderr


def test_stages_add_up_and_all_is_told(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    asked = ("--batch", "1,2", "--rate", "200", "--out", out)
    code, found, errors = measure(bundle, *asked)
    assert (code, errors) == (0, "")
    first, second = found["results"]["rows"]
    assert (first["batch"], second["batch"]) == (1, 2)
    assert (first["height"], first["width"]) == (256, 256)
    for row in (first, second):
        assert all(row[name]["n"] == 8 for name in ("call", "raw", "whole"))
        assert list(row["stages"]) == ["decode", "h2d", "execute", "d2h", "encode"]
        sums = np.sum([times["samples_ms"] for times in row["stages"].values()], axis=0)
        assert np.all(sums <= np.array(row["whole"]["samples_ms"]) + 0.01)
    (start,) = found["results"]["cold_start"]
    parts = [start[name] for name in ("python_ms", "import_ms", "load_ms", "first_mask_ms")]
    assert all(part > 0 for part in parts)
    assert start["peak_mb"] >= start["load_mb"] >= start["import_mb"] > 10
    (load,) = found["results"]["offered_load"]
    assert (load["rate"], load["requests"]) == (200, 8)
    assert found["parity"]["onnxruntime fp32"]["held"]
    assert read_result(out)["results"] == found["results"]


def test_time_between_the_stages_is_not_lost(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that sleeps after its clock has stopped."""
    check = session_module.results_of

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return check(*arguments)

    monkeypatch.setattr(session_module, "results_of", slow)
    busy = f"{OTHERS} 1.9 cores busy"
    for warnings, expected in (([], (1, "NOT TO BE BELIEVED")), ([busy], (0, "INCONCLUSIVE"))):
        monkeypatch.setattr(measurements, "disturbances", lambda found=warnings: list(found))
        code, _, errors = measure(bundle)
        assert (code, errors.split(":")[0].split(",")[0]) == expected
        assert "time is spent outside the stages" in errors


def test_slow_files_and_too_much_load_are_warned_of(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = latency.read_image

    def slow(path: Path, channels: str) -> Any:
        time.sleep(0.2)
        return read(path, channels=channels)

    monkeypatch.setattr(latency, "read_image", slow)
    code, found, _ = measure(bundle, "--rate", "100000")
    assert code == 0 and find_issues(found) == []
    assert any("reading and writing files takes 2" in text for text in found["warnings"])
    assert any("more than it can serve" in text for text in found["warnings"])


def test_an_open_loop_shows_the_queue() -> None:
    """Service takes 10 ms: half the load hardly waits, double the load waits ever longer."""
    light = offered_load(lambda number: time.sleep(0.01), 20, 40)
    heavy = offered_load(lambda number: time.sleep(0.01), 200, 40)
    assert light["service"]["median_ms"] >= 10 and heavy["service"]["median_ms"] >= 10
    assert heavy["utilisation"] > 0.9 > light["utilisation"]
    assert heavy["queue_max"] > 10 > light["queue_max"]
    assert heavy["response"]["max_ms"] > 10 * light["response"]["median_ms"]
    assert heavy["achieved_rate"] < 105


def test_a_rate_of_nothing_is_refused(bundle: Path) -> None:
    result = run("benchmark", "latency", bundle, "--rate", "0")
    assert "expected more than 0" in str(result.exception)
