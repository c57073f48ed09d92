"""What ``auto`` takes, and the reason it gives: plans and parity records are real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foveate.runtime.auto import choose as choice_module
from foveate.runtime.auto import plans
from foveate.runtime.auto.choose import Choice, choose
from foveate.runtime.auto.parity_records import SUFFIX, PlanParity, read_parity, write_parity
from foveate.runtime.auto.plans import GpuEnvironment
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.spec import graph_of
from tests.conftest import run

A10, L4 = Gpu("NVIDIA A10", "sm86"), Gpu("NVIDIA L4", "sm89")
OPTIONS = BuildOptions(((64, 64),), (1, 1, 2))
PROOF = PlanParity(
    "phantoms", 8, 7, "PyTorch fp32", 0.0005, 0.0001, True, plan_sha256="", version="1.7", gpu=A10
)


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return open_bundle(bundle)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    return PlanCache(tmp_path / "plans")


@pytest.fixture
def on_a10(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plans, "_gpu_environment", lambda gpu: GpuEnvironment("tensorrt_rtx", "1.7", A10)
    )


def plan(cache: PlanCache, bundle: Bundle, precision: str) -> PlanRecord:
    options = replace(OPTIONS, tf32=precision == "tf32")
    sha256 = bundle.graph_sha256(graph_of(precision))
    recipe = Recipe("tensorrt_rtx", "1.7", sha256, options, None)
    made = cache.build_once(recipe, "tiny", precision, lambda log: b"plan", lambda: None)
    return made[0]


def prove(cache: PlanCache, record: PlanRecord, proof: PlanParity = PROOF) -> None:
    write_parity(cache, record, replace(proof, plan_sha256=record.plan_sha256))


def test_without_a_plan_it_is_onnx_runtime_and_no_gpu_is_asked_for(
    opened: Bundle, cache: PlanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "_gpu_environment", lambda gpu: pytest.fail("the GPU was queried"))
    found = choose(opened)
    assert found.label == "onnxruntime fp32"
    assert "TensorRT" not in found.why
    assert f"the cache {cache.folder} has no plan" in choose(opened, "tensorrt").why


@pytest.mark.parametrize("problem", ["", "the NVIDIA driver finds no GPU"])
def test_a_plan_that_cannot_run_is_told_where_there_is_a_gpu(
    opened: Bundle, cache: PlanCache, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def nothing(gpu: int) -> GpuEnvironment:
        raise EngineError("pycuda cannot be loaded")

    monkeypatch.setattr(plans, "_gpu_environment", nothing)
    monkeypatch.setattr(choice_module, "driver_problem", lambda: problem)
    prove(cache, plan(cache, opened, "fp16"))
    found = choose(opened)
    assert found.label == "onnxruntime fp32"
    reason = "it has TensorRT plans that cannot run here: pycuda cannot be loaded"
    assert found.left_out["tensorrt"] == reason
    assert ("TensorRT" in found.why) == (not problem)


@pytest.mark.usefixtures("on_a10")
def test_a_plan_that_was_not_measured_here_is_not_taken(opened: Bundle, cache: PlanCache) -> None:
    record = plan(cache, opened, "fp16")
    line = f"foveate benchmark parity {opened.path} DATA --engines tensorrt --precision fp16"
    found = choose(opened)
    assert found.label == "onnxruntime fp32"
    assert found.why.endswith(f"a fp16 plan has not been measured on NVIDIA A10: {line}")
    for other in (replace(PROOF, gpu=L4), replace(PROOF, version="1.8")):
        prove(cache, record, other)
        assert choose(opened) == found
    write_parity(cache, record, replace(PROOF, plan_sha256="another"))
    assert choose(opened) == found


@pytest.mark.usefixtures("on_a10")
def test_a_plan_whose_masks_hold_is_taken_the_quickest_first(
    opened: Bundle, cache: PlanCache
) -> None:
    prove(cache, plan(cache, opened, "fp32"))
    assert choose(opened).label == "tensorrt fp32"
    prove(cache, plan(cache, opened, "tf32"))
    assert choose(opened).label == "tensorrt tf32"
    prove(cache, plan(cache, opened, "fp16"))
    found = choose(opened)
    assert found.label == "tensorrt fp16"
    assert "NVIDIA A10" in found.why and "0.000500, within its bounds, on 8 images" in found.why
    assert choose(opened, precision="fp32").label == "tensorrt fp32"
    assert choose(opened, engine="tensorrt").label == "tensorrt fp16"


@pytest.mark.usefixtures("on_a10")
@pytest.mark.parametrize(
    "proof", [replace(PROOF, held=False, disagreement=0.2), replace(PROOF, foreground_images=0)]
)
def test_a_plan_with_other_or_empty_masks_is_passed_over(
    opened: Bundle, cache: PlanCache, proof: PlanParity
) -> None:
    prove(cache, plan(cache, opened, "fp16"), proof)
    found = choose(opened)
    assert (
        found.label == "onnxruntime fp32"
        and "the masks of the fp16 plan differ too much" in found.why
    )
    prove(cache, plan(cache, opened, "fp32"))
    assert choose(opened).label == "tensorrt fp32"


@pytest.mark.usefixtures("on_a10")
def test_a_changed_record_is_not_believed(opened: Bundle, cache: PlanCache) -> None:
    record = plan(cache, opened, "fp16")
    prove(cache, record, replace(PROOF, held=False))
    path = cache.path(record.key, SUFFIX)
    path.write_text(path.read_text().replace('"held": false', '"held": true'))
    assert "does not match its own parity_sha256" in choose(opened).why
    with pytest.raises(BundleError, match="it was changed"):
        read_parity(cache, record, "1.7", A10)


def test_what_is_named_is_taken_as_it_is(opened: Bundle, cache: PlanCache) -> None:
    asked = Choice("onnxruntime", "fp32", "explicitly requested")
    assert choose(opened, "onnxruntime", "fp32") == asked
    assert choose(opened, "onnxruntime").label == "onnxruntime fp32"
    assert choose(opened, "tensorrt").label == "tensorrt fp32"
    assert choose(opened, precision="fp16").label == "onnxruntime fp16"


def test_bf16_is_openvinos_alone(bundle: Path, opened: Bundle) -> None:
    assert choose(opened, precision="bf16").label == "openvino bf16"
    assert choose(opened, "openvino").label == "openvino fp32"
    for engine in ("onnxruntime", "tensorrt"):
        with pytest.raises(EngineError, match=f"is a precision of the openvino.*{engine} does"):
            Cascade.load(bundle, engine, "bf16")


def test_info_lists_the_plans_of_the_bundle(bundle: Path, opened: Bundle, cache: PlanCache) -> None:
    record = plan(cache, opened, "fp16")
    said = run("info", bundle).output
    assert f"plan {record.key[:12]}: tiny fp16, batch 1 to 2, 64x64 to 64x64, sm80 on" in said
