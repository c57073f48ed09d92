"""``foveate info`` of this machine, and of a Jetson by the files that a Jetson has."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from foveate.runtime.cli.info import machine_facts, machine_lines
from foveate.runtime.engines.cuda.query import GpuFacts, NoGpu, driver_cuda, gpus
from foveate.runtime.engines.hardware import Jetson, jetson
from foveate.runtime.engines.install_lines import install_lines
from foveate.runtime.engines.tensorrt.toolkit import installed_toolkits
from tests.conftest import run

RELEASE = (
    "# R{}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\n"
)


def make_jetson(root: Path, release: str = "", model: str = "") -> Path:
    """Write the files that a Jetson has."""
    if release:
        (root / "etc").mkdir()
        (root / "etc" / "nv_tegra_release").write_text(RELEASE.format(release))
    if model:
        (root / "proc" / "device-tree").mkdir(parents=True)
        (root / "proc" / "device-tree" / "model").write_bytes(model.encode() + b"\0")
    return root


def pieces(facts: dict[str, Any], engine: str) -> dict[str, dict[str, str]]:
    return {piece["name"]: piece for piece in facts["engines"][engine]["pieces"]}


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("36 (release), REVISION: 4.3", ("36.4.3", 6)),
        ("38 (release), REVISION: 2.1", ("38.2.1", 7)),
        ("39 (release), REVISION: 2.1", ("39.2.1", 7)),
        ("35 (release), REVISION: 4.1", ("35.4.1", None)),
        ("eleased yesterday", ("", None)),
    ],
)
def test_a_jetson_by_its_release(
    release: str, expected: tuple[str, int | None], tmp_path: Path
) -> None:
    found = jetson(make_jetson(tmp_path, release), "aarch64")
    assert found is not None and (found.release, found.jetpack) == expected


def test_a_jetson_by_its_model_alone_as_in_a_container(tmp_path: Path) -> None:
    root = make_jetson(tmp_path, model="NVIDIA Jetson Orin Nano Developer Kit")
    assert jetson(root, "aarch64") == Jetson("NVIDIA Jetson Orin Nano Developer Kit", "")
    assert jetson(root, "x86_64") is None and jetson(tmp_path / "nothing", "aarch64") is None


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_elsewhere_the_lines_are_pip_s(architecture: str, tmp_path: Path) -> None:
    facts = machine_facts(tmp_path, architecture)
    found = pieces(facts, "tensorrt")
    assert found["pycuda"]["install"].startswith("pip install 'foveate[cuda]'")
    assert "pip install 'foveate[rtx]'" in found["TensorRT"]["install"]
    assert "foveate[gpu]" in pieces(facts, "onnxruntime-cuda")[CUDA_PROVIDER]["install"]
    assert facts["jetson"] is None


@pytest.mark.parametrize(
    ("version", "cuda", "lines"),
    [
        (12060, "12.6", {"onnxruntime-gpu": "'onnxruntime-gpu<1.27'", "tensorrt": "tensorrt-cu12>=",
                         "cuda-libraries": "[cuda,cudnn]<1.27'", "pycuda": "'cuda-bindings<13'",
                         "cuda-bindings": "'cuda-bindings<13'"}),
        (13010, "13.1", {}),
    ],
)  # fmt: skip
def test_the_versions_are_those_that_the_driver_runs(
    version: int, cuda: str, lines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(found: Any) -> int:
        found._obj.value = version
        return 0

    driver = SimpleNamespace(cuDriverGetVersion=ask, cuInit=lambda flags: 100)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert driver_cuda() == cuda
    facts = machine_facts()
    assert f"NVIDIA driver: runs CUDA {cuda} and older" in machine_lines(facts)
    named = {name: line for name, line in install_lines(None, cuda).items() if "<" in line}
    assert named.keys() == lines.keys() - {"tensorrt"}
    assert all(words in install_lines(None, cuda)[name] for name, words in lines.items())


def test_jetpack_6_has_a_driver_of_cuda_12() -> None:
    for release, old in (("36.4.3", True), ("38.2.1", False)):
        lines = install_lines(Jetson("Orin", release), "")
        assert ("'cuda-bindings<13'" in lines["pycuda"]) is old
        assert ("'cuda-bindings<13'" in lines["cuda-bindings"]) is old
        assert "Jetson index" in lines["onnxruntime-gpu"]


CUDA_PROVIDER = "ONNX Runtime with its CUDA provider"


def test_on_a_jetson_the_lines_are_jetpack_s(tmp_path: Path) -> None:
    root = make_jetson(tmp_path, "36 (release), REVISION: 4.3", "NVIDIA Jetson AGX Orin")
    facts = machine_facts(root, "aarch64")
    found = pieces(facts, "tensorrt")
    assert "sudo apt install python3-libnvinfer" in found["TensorRT"]["install"]
    assert "--system-site-packages" in found["TensorRT"]["install"]
    assert "JetPack 6: TensorRT 10, for Python 3.10" in found["TensorRT"]["install"]
    assert "export PATH=/usr/local/cuda/bin:$PATH" in found["pycuda"]["install"]
    assert "Jetson index" in pieces(facts, "onnxruntime-cuda")[CUDA_PROVIDER]["install"]
    assert "NVIDIA Jetson AGX Orin, Jetson Linux 36.4.3, JetPack 6" in machine_lines(facts)


def test_what_is_here_is_said_to_be_here() -> None:
    facts = machine_facts()
    assert facts["engines"]["onnxruntime"]["ready"]
    assert pieces(facts, "onnxruntime")["ONNX Runtime"]["found"] == onnxruntime.__version__
    toolkits = [str(item) for item in installed_toolkits()]
    assert pieces(facts, "tensorrt")["TensorRT"]["found"] == " and ".join(toolkits)


def test_a_bundle_and_its_parity(bundle: Path) -> None:
    facts = json.loads(run("info", bundle, "--json").output)["bundle"]
    assert facts["classes"] == "background, lesion" and "disagreement" in facts["parity fp32"]


def test_what_is_missing_is_followed_by_the_line_to_type() -> None:
    facts = json.loads(run("info", "--json").output)
    lines = run("info").output.splitlines()
    missing = [piece for engine in facts["engines"].values() for piece in engine["pieces"]]
    missing = [piece for piece in missing if not piece["found"]]
    told = [
        (here, after) for here, after in zip(lines, lines[1:], strict=False) if "missing" in here
    ]
    assert len(told) == len(missing)
    for (here, after), piece in zip(told, missing, strict=True):
        assert piece["name"] in here and after.strip() == piece["install"]


def test_without_a_gpu_no_engine_of_a_gpu_is_ready() -> None:
    try:
        assert all(isinstance(item, GpuFacts) and item.memory_bytes > 0 for item in gpus())
    except NoGpu as error:
        facts = machine_facts()
        assert facts["no_gpu"] == str(error) and facts["gpus"] == []
        ready = [name for name, engine in facts["engines"].items() if engine["ready"]]
        assert ready == ["onnxruntime", "openvino"]
        assert f"no GPU: {error}" in machine_lines(facts)


@pytest.mark.parametrize("gone", ["onnxruntime", "pycuda"])
def test_info_lives_without(gone: str) -> None:
    code = (
        f"import sys; sys.modules[{gone!r}] = None\n"
        "import foveate.cli, click.testing as t\n"
        "r = t.CliRunner().invoke(foveate.cli.group, ['info']); assert not r.exception, r\n"
        "print('torch' in sys.modules, r.output)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False foveate ")
    if gone == "onnxruntime":
        assert "engine onnxruntime: not ready" in done.stdout
        assert "pip install 'foveate[cpu]'" in done.stdout


def test_packages_that_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("opencv_python", "opencv_python_headless", "onnxruntime", "onnxruntime_gpu"):
        (tmp_path / f"{name}-4.9.dist-info").mkdir()
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 4.9\n"
        (tmp_path / f"{name}-4.9.dist-info" / "METADATA").write_text(text)
    assert machine_facts()["clashes"] == []
    monkeypatch.syspath_prepend(tmp_path)  # type: ignore[no-untyped-call]
    lines = list(machine_lines(machine_facts()))
    at = lines.index(
        "opencv-python 4.9 and opencv-python-headless 4.9 overwrite each other in the folder cv2; "
        "keep one:"
    )
    assert lines[at + 1].strip() == (
        "pip uninstall -y opencv-python opencv-python-headless && pip install "
        "opencv-python-headless"
    )
    assert lines[at + 2].startswith("onnxruntime 4.9 and onnxruntime-gpu 4.9 overwrite each other")
    assert lines[at + 3].strip().startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip")
