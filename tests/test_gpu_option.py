"""``--gpu N``: the number reaches what opens the GPU, and a machine without one does not mind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from foveate.benchmarks.schema.machine import VISIBLE, show_only
from foveate.export.tensorrt import plan_job
from foveate.export.tensorrt.plan_job import PlanJob, build_into
from foveate.runtime.auto import choose as choice
from foveate.runtime.auto import plans
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt import engine as planned
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import Recipe
from foveate.runtime.engines.tensorrt.toolkit import Toolkit
from foveate.runtime.errors import EngineError, SettingsError
from tests.conftest import run

OPTIONS = BuildOptions(((64, 64),), (1, 1, 2))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "scan.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))
    return path


@pytest.mark.parametrize("command", ["segment", "watch", "serve", "benchmark"])
def test_the_number_reaches_the_engine(
    command: str, thresholds: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def source(bundle: Bundle, precision: str, number: int) -> None:
        asked.append(os.environ.get(VISIBLE, number))
        raise EngineError("there is no GPU 1; the NVIDIA driver finds 1")

    monkeypatch.setattr(planned, "plan_source", source)
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.delenv(VISIBLE)
    on = ("--precision", "fp32", "--gpu", "1")
    out = ("--engine", "tensorrt", "--out", tmp_path / "out")
    arguments = {
        "segment": ("segment", thresholds, image, *out),
        "watch": ("segment", thresholds, "--watch", image.parent, *out),
        "serve": ("serve", thresholds, "--engine", "tensorrt"),
        "benchmark": ("benchmark", "latency", thresholds, "--engines", "tensorrt"),
    }[command]
    result = run(*arguments, *on)
    assert "there is no GPU 1" in str(result.exception), result.output
    assert asked == ["1" if command == "benchmark" else 1]


def test_the_number_is_of_those_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "MIG-1,MIG-2")
    with pytest.raises(SettingsError, match="--gpu is 2; CUDA_VISIBLE_DEVICES shows 2"):
        show_only(2)
    show_only(0)
    assert os.environ[VISIBLE] == "MIG-1,MIG-2"
    show_only(1)
    assert os.environ[VISIBLE] == "MIG-2"


def test_auto_on_a_machine_without_that_gpu_goes_to_the_cpu(
    thresholds: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def place(number: int) -> None:
        asked.append(number)
        raise EngineError(f"there is no GPU {number}; the NVIDIA driver finds 1")

    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    monkeypatch.setattr(plans, "_gpu_environment", place)
    monkeypatch.setattr(choice, "driver_problem", lambda: "")
    opened = open_bundle(thresholds)
    recipe = Recipe("tensorrt_rtx", "1.7", opened.graph_sha256("fp32"), OPTIONS, None)
    PlanCache(tmp_path / "plans").build_once(recipe, "l", "fp32", lambda log: b"plan", lambda: None)
    result = run("segment", thresholds, image, "--out", tmp_path / "out", "--gpu", "1")
    assert result.exception is None and "cannot run here: there is no GPU 1" in result.output
    assert (tmp_path / "out" / "scan.png").exists()
    assert "there is no GPU 2" in run("info", thresholds, "--gpu", "2").output
    assert set(asked) == {1, 2}


def test_the_full_tensorrt_builds_on_that_gpu_and_for_it(
    thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[int] = []

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index

        @contextmanager
        def current(self) -> Iterator[None]:
            current.append(self.index)
            yield
            current.pop()

    def build(kit: Toolkit, *rest: object) -> bytes:
        return f"built on {current}".encode()

    monkeypatch.setattr(plan_job, "CudaDevice", Device)
    monkeypatch.setattr(plan_job, "gpu", lambda number: Gpu(f"GPU {number}", "sm86"))
    monkeypatch.setattr(plan_job, "build_plan", build)
    cache, bundle = PlanCache(tmp_path), open_bundle(thresholds)
    for flavour, number, expected, device in (
        ("tensorrt", 1, b"built on [1]", Gpu("GPU 1", "sm86")),
        ("tensorrt", 0, b"built on [0]", Gpu("GPU 0", "sm86")),
        ("tensorrt_rtx", 1, b"built on []", None),
    ):
        members = {"SM86": 0}
        module = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__=members))
        kit = Toolkit(flavour, "1.0", module)
        job = PlanJob(bundle, "fp32", OPTIONS, kit, lambda *step: None, lambda: None, number)
        record, built = build_into(cache, job)
        assert built and record.recipe.device == device
        assert cache.read(record, "l") == expected
