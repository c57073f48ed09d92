"""``make gpu-check`` and ``make gpu-soak`` from end to end without a GPU.

Real pycuda over a stand-in for the driver: they run where pycuda is installed and
FOVEATE_CUDA_STANDIN names a folder with a stand-in ``libcuda.so.1``; TensorRT-RTX is
``tests/rehearsal``'s. They show that every step is reached and that its results come together, and
nothing about a GPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from foveate.benchmarks.gpu_references import main

ROOT = Path(__file__).parents[2]
STANDIN = "FOVEATE_CUDA_STANDIN"
OTHER = "onnxruntime-cuda"
REFUSAL = "Error Code 4: this GPU is not one of ours"


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("pycuda is not installed")
    if STANDIN not in os.environ:
        pytest.skip(f"{STANDIN} is not set")
    folder = tmp_path_factory.mktemp("references") / "r"
    demo = str(ROOT / "benchmarks" / "demo_bundle")
    done = CliRunner().invoke(main, [str(folder), "--phantoms", demo, "2"])
    assert done.exit_code == 0, done.output
    return folder


def rehearse(command: str, references: Path, out: Path, **more: str) -> dict[str, Any]:
    python = f"{ROOT}/tests/rehearsal:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    paths = {"LD_LIBRARY_PATH": os.environ[STANDIN], "PYTHONPATH": python}
    module = f"foveate.benchmarks.{command.replace('-', '_')}"
    done = subprocess.run(
        [sys.executable, "-m", module, str(references), "--out", str(out), "--rehearsal"],
        env={**os.environ, **paths, **more},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    result: dict[str, Any] = json.loads((out / f"{command}.json").read_text(encoding="utf-8"))
    assert result["rehearsal"] and done.returncode == bool(result["broken"]), done.stdout
    return result


def test_every_step_of_the_check_is_reached(references: Path, tmp_path: Path) -> None:
    result = rehearse("gpu-check", references, tmp_path)
    failed = {
        step["name"]: step["reason"] for step in result["steps"] if step["status"] != "passed"
    }
    failed.pop("pytest", "")  # some of its tests cannot hold on a stand-in: nothing overlaps on it
    assert all(name.startswith(("torch", "smoke onnx")) for name in failed), failed
    kinds = {step["kind"] for step in result["steps"]}
    assert kinds == {"smoke", "pytest", "build", "parity", "latency", "throughput", "torch"}
    assert "<b>Rehearsal</b>" in (tmp_path / "gpu-check.html").read_text(encoding="utf-8")
    assert not any(aim["met"] for aim in result["aims"])


def test_a_refusal_is_in_the_json_and_on_the_page(references: Path, tmp_path: Path) -> None:
    refused = {"FOVEATE_REHEARSED_REFUSAL": REFUSAL, "FOVEATE_REHEARSED_PROVIDER": "1"}
    result = rehearse("gpu-check", references, tmp_path, **refused)
    assert REFUSAL in result["broken"][0]
    assert REFUSAL in (tmp_path / "gpu-check.html").read_text(encoding="utf-8")
    assert not any(step["arguments"].get("engine") == "tensorrt" for step in result["steps"])
    others = [step for step in result["steps"] if step["arguments"].get("engine") == OTHER]
    assert {step["kind"] for step in others} == {"smoke", "parity", "latency", "throughput"}
    assert {step["status"] for step in others} == {"passed"}


def test_the_soak_streams_and_samples(references: Path, tmp_path: Path) -> None:
    result = rehearse("gpu-soak", references, tmp_path)
    soak = next(step["results"] for step in result["steps"] if step["kind"] == "soak")
    assert soak["images"] == 60 and soak["changed_masks"] == 0 and len(soak["samples"]) == 3
    tool = next(step["results"] for step in result["steps"] if step["kind"] == "sanitizer")
    assert "tool" in tool
