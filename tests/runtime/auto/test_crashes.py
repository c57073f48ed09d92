"""An engine that crashes: a package in the place of OpenVINO really ends its process, a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.auto.choose import choose
from foveate.runtime.auto.cpu import Speeds, choose_on_cpu
from foveate.runtime.auto.cpu_candidates import Candidate, cpu_candidates
from foveate.runtime.auto.crashes import store_crash
from foveate.runtime.auto.parity_records import EngineParity, parity_path, write_engine_parity
from foveate.runtime.auto.timing_child import time_in_child
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.hardware import CpuEnvironment, Processor, cpu_environment
from tests.runtime.auto.test_cpu import with_int8

OPENVINO = """
import os

__version__ = "2099.1"


class Core:
    available_devices = ["CPU"]

    def get_property(self, *names):
        return ["FP32"]

    def read_model(self, graph):
        with open(__file__ + ".log", "a") as file:
            file.write("one process\\n")
        print("what a library prints", flush=True)
        CRASH
"""
IDLE = "import os\nos.getloadavg = lambda: (0.0, 0.0, 0.0)\n"
"""So that a busy machine is timed too: for the processes of these tests only."""
ORT, OV = Candidate("onnxruntime", "fp32"), Candidate("openvino", "fp32")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of another system")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder of packages, where OpenVINO is one that ends the process at the first graph."""
    (tmp_path / "packages" / "openvino").mkdir(parents=True)
    (tmp_path / "packages" / "sitecustomize.py").write_text(IDLE)
    return tmp_path / "packages"


def crash_with(packages: Path, code: str) -> None:
    module = packages / "openvino" / "__init__.py"
    module.write_text(OPENVINO.replace("CRASH", code))


def children(packages: Path) -> int:
    file = packages / "openvino" / "__init__.py.log"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def foveate(packages: Path, *arguments: object, code: int = 0) -> str:
    """Return what a process of its own prints, which finds these packages first."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "FOVEATE_CACHE": str(packages.parent / "cache"),
    }
    command = [sys.executable, "-m", "foveate", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stderr
    return done.stdout


@posix
def test_an_engine_that_crashes_is_survived_and_not_tried_again(
    thresholds: Path, packages: Path, tmp_path: Path
) -> None:
    crash_with(packages, "import ctypes; ctypes.string_at(0)")
    said = foveate(packages, "info", thresholds)
    assert "auto: onnxruntime fp32; timed on this machine" in said
    how = "crashed with signal 11 (SIGSEGV) here"
    assert "auto without openvino fp32: " in said and how in said and children(packages) == 1
    again = json.loads(foveate(packages, "info", thresholds, "--json"))["bundle"]
    assert again["auto"] == "onnxruntime fp32; no other engine runs it here"
    (record,) = (packages.parent / "cache" / "cpu").glob("*.crash.json")
    assert again["auto without openvino fp32"].endswith(f"{how}; to try again remove {record}")
    assert children(packages) == 1

    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "0.png"), np.zeros((40, 50), np.uint8))
    segment = ("segment", thresholds, tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert json.loads(foveate(packages, *segment))["engine"] == "onnxruntime"
    foveate(packages, *segment, "--engine", "openvino", code=-11)
    assert children(packages) == 2


@posix
@pytest.mark.parametrize(
    ("end", "how", "recorded"),
    [
        ("os.abort()", "crashed with signal 6 (SIGABRT)", True),
        ("os.kill(os.getpid(), 9)", "was ended with signal 9 (SIGKILL)", False),
        ("os._exit(3)", "ended its process with exit code 3", False),
    ],
)
def test_only_a_crash_is_recorded(
    thresholds: Path,
    packages: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    how: str,
    recorded: bool,
) -> None:
    crash_with(packages, end)
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("FOVEATE_CACHE", str(packages / "cache"))
    bundle = open_bundle(thresholds)
    found = choose_on_cpu(bundle, "", Speeds(1, time_in_child))
    assert found.candidate == ORT and how in found.left_out[OV.label]
    if recorded:
        assert choose_on_cpu(bundle, "", Speeds(1)).why == "no other engine runs it here"
    else:
        assert "openvino fp32 may be faster here" in choose_on_cpu(bundle, "", Speeds(1)).why


def test_the_child_times_as_this_process_does(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(thresholds)
    for frozen in (False, True):
        monkeypatch.setattr(sys, "frozen", frozen, raising=False)
        times = time_in_child(bundle, [ORT], 1)
        assert times.ms[ORT.label] > 0 and times.rounds >= 3 and not times.failed
    monkeypatch.setattr(sys, "executable", "/none/python")
    monkeypatch.setattr(sys, "frozen", False)
    assert time_in_child(bundle, [ORT], 1).ms[ORT.label] > 0


def test_what_public_reports_say_crashes_is_left_out(
    thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    bundle = with_int8(thresholds, tmp_path / "bundle", False)
    amx = Processor("Xeon", ("avx2", "avx512_vnni", "amx_bf16", "amx_int8"), 4)
    held = EngineParity("lungs", 20, 19, "PyTorch fp32", 0.004, -0.0001, True)

    def reason(version: str, processor: Processor = amx) -> str:
        here = CpuEnvironment(processor, {"onnxruntime": "onnxruntime-1.32.0", "openvino": version})
        write_engine_parity(parity_path(bundle, here, "openvino", "int8"), held)
        return cpu_candidates(bundle, here).left_out.get("openvino int8", "")

    assert "issues/37577" in reason("openvino-2026.3.0") and reason("openvino-2026.1.0")
    assert not reason("openvino-2026.4.1") and not reason("openvino-2025.4.1")
    assert not reason("openvino-2026.3.0", replace(amx, flags=("avx2", "avx512_vnni")))


def test_a_crash_is_noted_where_the_engine_is_asked_for_by_name(
    thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    bundle, here = open_bundle(thresholds), cpu_environment()
    assert choose(bundle, "openvino", "fp32").why == "explicitly requested"
    store_crash(bundle, here, "openvino", "fp32", "crashed with signal 11 (SIGSEGV)")
    for precision in ("fp32", "auto"):
        found = choose(bundle, "openvino", precision)
        assert found.label == "openvino fp32" and "crashed with signal 11 (SIGSEGV)" in found.why
    record = next(tmp_path.rglob("*.crash.json"))
    record.write_text(record.read_text().replace("11", "12"))
    assert choose(bundle, "openvino", "fp32").why == "explicitly requested"
    assert choose_on_cpu(bundle, "", Speeds(1)).candidate == ORT
