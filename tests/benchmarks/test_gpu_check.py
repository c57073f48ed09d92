"""What a GPU check makes of its steps: which follow, what is broken, and the page of any of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from foveate.benchmarks import gpu_check
from foveate.benchmarks.gpu import agenda, verdicts
from foveate.benchmarks.gpu.page import write_gpu_page
from foveate.benchmarks.gpu.references import ReferenceSet
from foveate.benchmarks.gpu.step_runner import FAILED, PASSED, SKIPPED, Outcome, Step
from foveate.benchmarks.gpu.task import CheckSettings
from foveate.benchmarks.peers.torch_networks import TorchWay
from foveate.benchmarks.peers.torch_whole import one_by_one, whole_cascade
from foveate.benchmarks.timing import distribution
from foveate.export.parity import torch_masks
from foveate.export.reference import torch_cascade
from foveate.runtime.bundle import open_bundle
from foveate.runtime.errors import EngineError
from foveate.train.phantom import PhantomSettings, phantoms

DEMO = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
SAID = "Error Code 4: compute capability 9.0 <is not> supported"
STAGES = {"h2d_ms": 0.1, "execute_ms": 0.2, "d2h_ms": 0.1}


def parity(held: bool = True) -> dict[str, Any]:
    return {
        "reference": "PyTorch", "images": 3, "disagreement": 0.0001 if held else 0.5,
        "disagreement_bound": 0.01, "dice": 0.9, "dice_reference": 0.9, "dice_change": 0.0,
        "dice_change_bound": 0.002, "emptiness_flips": [], "moved_boxes": [],
        "worst_image": "a", "worst_disagreement": 0.1, "held": held,
    }  # fmt: skip


def outcome(kind: str, results: Mapping[str, Any], status: str = PASSED, **more: Any) -> Outcome:
    reason = "" if status == PASSED else f"{kind} broke"
    arguments = {"engine": "tensorrt", "set": "phantoms", **more.pop("arguments", {})}
    step = Step(more.pop("name", kind), kind, 10, arguments, **more)
    return Outcome(step, status, 1.0, reason, (reason,) if reason else (), results)


def latency(ms: float, held: bool = True) -> Outcome:
    row = {
        "engine": "tensorrt", "precision": "fp16", "mode": "latency", "parity": parity(held),
        "ms": vars(distribution([ms / 1000] * 3)), "stages": STAGES,
    }  # fmt: skip
    return outcome("latency", {"rows": [row], "parity": {"latency": parity(held)}})


def throughput(share: float, rate: float) -> Outcome:
    row = {
        "engine": "tensorrt", "precision": "fp16", "batch": 1, "stages": {"runs": 1, **STAGES},
        "images_per_second": {"cascade": rate, "ring": rate, "with_transfers": rate / share},
        "of_ceiling": {"cascade": {"median": share}, "ring": {"median": share}},
        "differing_pixels": {"ring": 0, "with_transfers": 7},
    }  # fmt: skip
    return outcome("throughput", {"rows": [row], "parity": parity()})


def torch_(ms: float, rate: float) -> Outcome:
    rows = [{"batch": 8, "images_per_second": {"torch": rate}}]
    times = vars(distribution([ms / 1000] * 3))
    found = {"how": "eager", "ms": times, "rows": rows, "parity": parity(False)}
    return outcome("torch", found, required=False)


def steps(*outcomes: Outcome) -> list[dict[str, Any]]:
    return [item.as_json() for item in outcomes]


def met(*outcomes: Outcome) -> list[bool | None]:
    return [aim["met"] for aim in verdicts.aims(steps(*outcomes))]


def test_aims_are_met_missed_or_not_measured() -> None:
    assert met(latency(0.4), throughput(0.96, 900), torch_(1.3, 290)) == [True] * 5
    assert met(latency(0.6), throughput(0.94, 900), torch_(1.3, 310)) == [False] * 5
    assert met() == [None] * 5
    assert met(latency(0.4, held=False))[0] is None, "no speed without its parity"
    assert verdicts.aims(steps(latency(0.4)), rehearsal=True)[0]["value"] is None


def test_what_is_broken_is_listed_and_peers_are_not_ours_to_hold() -> None:
    lost = outcome("parity", {"parity": {"fp16": parity(False)}}, name="parity x")
    late = outcome("build", {}, SKIPPED, name="build y")
    extra = outcome("latency", {}, FAILED, required=False)
    found = verdicts.broken(steps(lost, late, extra, torch_(1, 1), latency(1)))
    assert len(found) == 2
    assert found[0].startswith("parity x fp16: disagreement 0.50000 (at most 0.01)")
    assert found[1] == "build y skipped: build broke"
    assert "7 pixels" in verdicts.doubts(steps(throughput(1, 1)))[0]


def names(*smokes: Outcome) -> list[str]:
    sets = [
        ReferenceSet(name, "PyTorch", open_bundle(DEMO), ((64, 64),), list)
        for name in ("phantoms", "usgra")
    ]
    made = agenda.steps_after(smokes, sets, CheckSettings("", ""))
    assert len({step.name for step in made}) == len(made)
    return [step.name for step in made]


def test_a_refused_tensorrt_leaves_the_page_to_the_other_engine() -> None:
    runs, refuses = outcome("smoke", {"targets": []}), outcome("smoke", {}, FAILED)
    both = names(runs, runs)
    assert "build usgra" in both and "throughput tensorrt fp16" in both
    assert "latency onnxruntime-cuda fp16" in both and "pytest" in both
    other = names(refuses, runs)
    assert not [name for name in other if "tensorrt" in name or "build" in name]
    assert {"parity onnxruntime-cuda usgra", "throughput onnxruntime-cuda fp16"} <= set(other)
    none = names(refuses, refuses)
    assert {name.split()[0] for name in none} == {"pytest", "torch"}
    assert sum(name.startswith("torch") for name in other) == 4


def result(*outcomes: Outcome) -> dict[str, Any]:
    found = steps(*outcomes)
    gpu = {"name": "A GPU", "memory.total": "1 MiB"}
    machine = {"gpus": [gpu], "cpu": "c", "cores": 1, "memory_gb": 1, "kernel": "k"}
    return {
        "rehearsal": None, "machine": machine, "versions": {"python": "3"}, "sets": [],
        "foveate": {"version": "0", "commit": None}, "warnings": [], "steps": found,
        "broken": verdicts.broken(found), "doubts": verdicts.doubts(found),
        "aims": verdicts.aims(found),
    }  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


def test_the_page_holds_the_refusal_word_by_word(page: Path) -> None:
    attempt = {"targets": [], "error": "it refuses", "said": [SAID]}
    refused = outcome("smoke", {"attempts": [attempt]}, FAILED, name="smoke tensorrt_rtx")
    write_gpu_page(page, result(refused))
    text = page.read_text(encoding="utf-8")
    assert "compute capability 9.0 &lt;is not&gt; supported" in text
    assert "smoke tensorrt_rtx, built for its default targets: it refuses" in text


def test_a_page_of_nothing_and_a_page_of_everything(page: Path) -> None:
    write_gpu_page(page, result())
    assert page.read_text(encoding="utf-8").count("Not measured.") == 8
    tests = {"tests": 2, "failures": [{"name": "t", "message": "m"}], "skipped": []}
    plan = {"precision": "fp16", "batch": [1, 1, 1], "height": [8, 9], "width": [8, 9]}
    everything = (
        latency(0.4), throughput(0.96, 900), torch_(1.3, 290),
        outcome("parity", {"parity": {"fp16": parity()}, "refused": {"tf32": "why not"}}),
        outcome("build", {"plans": [{**plan, "seconds": 1.0, "mb": 2.0}]}),
        outcome("smoke", {"gpu": "G", "sm": "sm90", "memory_mib": 9, "disagreement": 0.0}),
        outcome("pytest", tests, FAILED),
    )  # fmt: skip
    write_gpu_page(page, {**result(*everything), "rehearsal": gpu_check.REHEARSAL})
    text = page.read_text(encoding="utf-8")
    assert "Not measured." not in text
    for part in ("why not", "NOT HELD", "8 to 9", "pytest broke", "no GPU: nothing here says"):
        assert part in text


def test_folders_of_this_machine_stay_out_of_the_result() -> None:
    settings = CheckSettings("/home/me/refs", "/home/me/out")
    values = {"a": ["/home/me/refs/x is not there", 1], "b": f"{gpu_check.CHECKOUT}/examples"}
    found = gpu_check.shortened(values, settings)
    assert found == {"a": ["REFERENCES/x is not there", 1], "b": "CHECKOUT/examples"}


def test_references_that_are_not_there_are_a_mistake(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu_check.main, [str(tmp_path / "none")])
    assert done.exit_code == 2 and "make gpu-references" in done.output


def test_pytorch_s_whole_cascade_has_the_reference_s_masks() -> None:
    """On the CPU; what moves to a GPU is the same function."""
    bundle = open_bundle(DEMO)
    images = [item.image for item in phantoms(PhantomSettings(2, 200, seed=8, bits=16))]
    segment = one_by_one(whole_cascade(torch_cascade(bundle), TorchWay()))
    for image in images:
        wanted, box = torch_masks(torch_cascade(bundle), image)
        found, found_box = segment(image)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(found_box, box)
    with pytest.raises(EngineError, match="sees no CUDA device"):
        whole_cascade(torch_cascade(bundle), TorchWay("cuda"))
