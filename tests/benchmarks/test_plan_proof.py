"""``benchmark parity`` writes its record beside a plan, and ``auto`` goes by it: the whole way.

Over the fake device; the stand-in for TensorRT runs the ONNX graph, so the masks are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.auto import plans
from foveate.runtime.auto.parity_records import read_parity
from foveate.runtime.auto.plans import GpuEnvironment
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.tensorrt import engine as planned
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_engine import PlanEngine
from tests.conftest import run
from tests.runtime.engines.tensorrt.planned_place import GPU, VERSION, PlannedPlace

PHANTOMS = BuildOptions(((160, 160), (64, 64)), (1, 1, 4))


@pytest.fixture
def place(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlannedPlace]:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    made = PlannedPlace(bundle, tmp_path / "plans", monkeypatch)

    def source(bundle: Bundle, precision: str, gpu: int) -> planned.PlanSource:
        return made.source(precision)

    monkeypatch.setattr(planned, "plan_source", source)
    monkeypatch.setattr(
        plans, "_gpu_environment", lambda gpu: GpuEnvironment("tensorrt_rtx", VERSION, GPU)
    )
    yield made
    assert made.device.clean


def parity(place: PlannedPlace, data: Path, *more: object) -> tuple[int, str]:
    done = run("benchmark", "parity", place.bundle.path, data, *more)
    assert done.exception is None, done.output
    return done.return_value, done.output


def test_a_plan_is_taken_once_its_masks_were_measured(
    place: PlannedPlace, data: Path, tmp_path: Path
) -> None:
    record = place.build(PHANTOMS)
    arguments = ("segment", place.bundle.path, data / "images", "--out", tmp_path / "masks")
    before = json.loads(run(*arguments, "--json").output)
    assert (
        before["engine"] == "onnxruntime"
        and "has not been measured on fake device" in before["why"]
    )
    code, said = parity(place, data, "--engines", "tensorrt", "--precision", "fp32")
    assert code == 0 and f"wrote plan {record.key[:12]} (fp32): disagreement 0.0" in said
    found = read_parity(place.cache, record, VERSION, GPU)
    assert found is not None and found.proves and found.images == 12
    assert found.reference.startswith("PyTorch") and found.disagreement <= 0.001
    after = json.loads(run(*arguments, "--json").output)
    assert (after["engine"], after["precision"]) == ("tensorrt", "fp32")
    assert after["engines"] == {"tensorrt fp32": 12} and "within its bounds" in after["why"]


def test_a_plan_with_other_masks_is_recorded_and_not_taken(
    place: PlannedPlace, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.build(PHANTOMS)
    true = PlanEngine.submit

    class Shifted:
        def __init__(self, ticket: object) -> None:
            self._ticket = ticket

        def result(self, *how: object) -> object:
            done = self._ticket.result(*how)  # type: ignore[attr-defined]
            done.outputs["mask"] = np.roll(done.outputs["mask"], 3, axis=2)
            return done

    monkeypatch.setattr(PlanEngine, "submit", lambda self, *given: Shifted(true(self, *given)))
    code, said = parity(place, data, "--engines", "tensorrt", "--precision", "fp32")
    assert code == 1 and "OUTSIDE its bounds" in said
    found = read_parity(place.cache, record, VERSION, GPU)
    assert found is not None and not found.held and found.disagreement > 0.01
    assert "; the masks of the fp32 plan differ too much" in run("info", place.bundle.path).output


def test_plans_that_do_not_take_the_images_are_left_out(place: PlannedPlace, data: Path) -> None:
    place.build(BuildOptions(((64, 64),)))
    code, said = parity(place, data, "--precision", "fp32", "--json")
    assert code == 0
    skipped = json.loads(said)["results"]["skipped"]
    assert "does not cover height 160 (it takes 64)" in skipped["tensorrt fp32"]
    alone = run(
        "benchmark", "parity", place.bundle.path, data, "--engines", "tensorrt",
        "--precision", "fp32",
    )  # fmt: skip
    assert "does not cover height 160" in str(alone.exception)
