"""The floor under a time: by hand for two operators, and a whole bundle against this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foveate.benchmarks.measure.roofline import OperatorCost, Peaks, roofline, share_of_peak
from foveate.runtime.bundle.bundle import open_bundle


def test_the_floor_is_arithmetic_or_memory_whichever_takes_longer() -> None:
    costs = [
        OperatorCost("stage 1 network", "Conv", 1_000_000_000, 1_000_000),  # 20 ms, 0.1 ms
        OperatorCost("stage 1 network", "MaxPool", 0, 5_000_000),  # 0 ms, 0.5 ms
        OperatorCost("geometry", "MatMul", 50_000_000, 40_000_000),  # 1 ms, 4 ms
    ]
    found = share_of_peak(costs, Peaks(gflops=100.0, copy_gb_s=10.0), measured_ms=49.0)
    network, geometry = found["parts"]
    assert network["part"] == "stage 1 network"
    assert (network["gflop"], network["mbyte"]) == (2.0, 6.0)
    assert network["floor_ms"] == pytest.approx(20.5)
    assert geometry["floor_ms"] == pytest.approx(4.0)
    assert found["floor_ms"] == pytest.approx(24.5) and found["share"] == pytest.approx(0.5)


def test_a_bundles_roofline_has_every_field_and_adds_up(bundle: Path) -> None:
    found = roofline(open_bundle(bundle).graph("fp32"), 160, 160, 100.0, 1)
    assert {part["part"] for part in found["parts"]} == {
        "stage 1 network", "stage 2 network", "geometry",
    }  # fmt: skip
    assert found["floor_ms"] == pytest.approx(sum(part["floor_ms"] for part in found["parts"]))
    assert found["share"] == pytest.approx(found["floor_ms"] / found["measured_ms"])
    assert (found["height"], found["width"], found["measured_ms"]) == (160, 160, 100.0)
    assert found["peak_gflops"] > 0 and found["copy_gb_s"] > 0


def test_without_onnx_there_is_none_and_the_line_that_installs_it() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from types import SimpleNamespace as S\n"
        "from foveate.benchmarks.measurements import _roofline\n"
        "rows = [{'variant': 'x fp32', 'images_per_second': 1.0}]\n"
        "print(_roofline(S(cores=1), S(bundle=None), rows, (64, 64)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("(None,") and "pip install 'foveate[train" in done.stdout
