"""``make gpu-check`` from end to end without a GPU; it says nothing about one.

With pycuda installed, and FOVEATE_CUDA_STANDIN naming a folder with a stand-in for
``libcuda.so.1``, the plans of ``tests/rehearsal``'s TensorRT-RTX also run. Elsewhere they are built
and refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from foveate.benchmarks.scripts.gpu_references import main

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks" / "scripts"
STANDIN = "FOVEATE_CUDA_STANDIN"
REFUSAL = "Error Code 4: this GPU is not one of ours"
MOST_FILES = 8


@pytest.fixture(scope="module")
def references(demo_fp16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references") / "r"
    done = CliRunner().invoke(main, [str(folder), str(demo_fp16), "2", "--size", "256"])
    assert done.exit_code == 0, done.output
    return folder


def rehearse(references: Path, out: Path, budget_s: int, **more: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and JSON of a rehearsal; OUT must hold a few whole, flat files."""
    python = f"{ROOT}/tests/rehearsal:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    given = {"LD_LIBRARY_PATH": os.environ.get(STANDIN, ""), "PYTHONPATH": python}
    words = [SCRIPTS / "gpu_check.py", references, out, budget_s, "--rehearsal"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *map(str, words)], env={**os.environ, **given, **more},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert time.monotonic() - started < budget_s + 3, "3 s are those of Python and its imports"
    assert "Traceback" not in done.stderr, done.stderr
    files = list(out.iterdir())
    assert len(files) <= MOST_FILES
    assert {path.suffix for path in files} <= {".json", ".html", ".xml"}
    text = (out / "gpu-check.json").read_text()
    found: dict[str, Any] = json.loads(text)
    assert str(ROOT) not in text and str(references) not in text
    assert [aim["value"] for aim in found["aims"]] == [None] * 5, "a rehearsal"
    return done.returncode, found


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in found["steps"]}


@pytest.mark.slow
def test_every_step_is_reached(references: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("pycuda") is None or STANDIN not in os.environ:
        pytest.skip(f"needs pycuda, and {STANDIN}")
    code, found = rehearse(references, tmp_path, 300)
    assert code == 0 and found["broken"] == []
    came = statuses(found)
    assert came.pop("try-onnxruntime-cuda") == "failed with 2"
    assert set(came.values()) <= {"passed", "doubted"}
    assert {"build-phantoms-3", "parity-phantoms", "latency", "throughput", "pytest",
            "compare-1", "report"} < set(came)  # fmt: skip
    parity = found["results"]["parity-phantoms"]["parity"]
    assert set(parity) == {"tensorrt fp32", "tensorrt tf32", "tensorrt fp16"}
    (row,) = found["results"]["throughput"]["results"]["ceilings"]
    assert row["images_per_second"]["with_transfers"] > 0
    page = (tmp_path / "gpu-check.html").read_text()
    assert "Ceilings of the GPU" in page and (tmp_path / "pytest.xml").exists()


@pytest.mark.slow
def test_a_refusal_is_kept_word_by_word_and_the_other_engine_is_measured(
    references: Path, tmp_path: Path
) -> None:
    refused = {"FOVEATE_REHEARSED_REFUSAL": REFUSAL, "FOVEATE_REHEARSED_PROVIDER": "1"}
    code, found = rehearse(references, tmp_path, 300, **refused)
    assert code == 1 and "TensorRT does not run here" in found["broken"][0]
    said = {step["name"]: step["said"] for step in found["steps"]}
    if importlib.util.find_spec("pycuda") is not None and STANDIN in os.environ:
        assert REFUSAL in said["try-tensorrt"]
    else:
        assert "pycuda" in said["try-tensorrt"]
    came = statuses(found)
    assert came["try-tensorrt-build"] == "passed" and "try-tensorrt-current-build" in came
    assert not any(name.startswith("build-") for name in came)
    for name in ("parity-phantoms", "latency", "throughput", "compare-1", "report"):
        assert came[name] in ("passed", "doubted"), said[name]
    assert {"onnxruntime-cuda fp16", "onnxruntime-cuda fp32"} == set(
        found["results"]["parity-phantoms"]["parity"]
    )
    compared = found["results"]["compare-1"]["results"]
    assert [method["key"] for method in compared["methods"]] == ["foveate"], "nothing of the CPU"
    assert compared["parts"] == [] and (tmp_path / "gpu-check.html").exists()


def test_a_budget_too_short_is_kept_and_what_was_skipped_is_listed(
    references: Path, tmp_path: Path
) -> None:
    code, found = rehearse(references, tmp_path, 10)
    came = statuses(found)
    assert code == 1 and came["throughput"] == came["pytest"] == "skipped"
    assert any(line.startswith("throughput: skipped") for line in found["broken"])


def test_one_that_is_ended_leaves_what_it_had(references: Path, tmp_path: Path) -> None:
    """As ``timeout`` ends it: no process stays, and the JSON is whole."""
    words = [SCRIPTS / "gpu_check.py", references, tmp_path, 300, "--rehearsal"]
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL)
    while not (tmp_path / "gpu-check.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 143
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    assert found["steps"][0]["status"] == "running" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_something_else_is_a_mistake(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPTS / "gpu_check.py"), str(tmp_path), str(tmp_path / "o"), "9"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "make gpu-references" in done.stderr
    assert not (tmp_path / "o").exists()
