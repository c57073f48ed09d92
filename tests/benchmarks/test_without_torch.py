"""Parity, latency and throughput need neither torch nor onnx; compare says what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foveate.benchmarks.schema.result_files import read_result

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("torch", "onnx", "safetensors", "albumentations", "openvino")))
from foveate.cli import main
sys.argv = ["foveate", "benchmark", *{arguments!r}]
main()
"""


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("parity", []),
        ("latency", ["--runs", "3"]),
        ("throughput", ["--seconds", "0.2", "--batch", "1", "--workers", "1"]),
    ],
)
def test_no_torch_is_needed(bundle: Path, tmp_path: Path, kind: str, more: list[str]) -> None:
    out = tmp_path / "result.json"
    shown = benchmark(kind, bundle, "--size", 192, "--count", 2, *more, "--out", out)
    assert shown.returncode in (0, 1), shown.stderr  # 1: what a busy machine's times contradict
    found: dict[str, Any] = read_result(out)
    reference = found["parity"]["onnxruntime fp32"]["reference"]
    assert reference.startswith("ONNX Runtime") and "PyTorch is not here" in reference


def test_compare_says_what_is_missing(bundle: Path) -> None:
    shown = benchmark("compare", bundle)
    assert shown.returncode == 2
    assert "needs" in shown.stderr and "pip install 'foveate[train]'" in shown.stderr
    assert shown.stderr.count("\n") == 1
