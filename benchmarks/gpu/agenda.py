"""Which steps follow from what is installed and what earlier steps found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from foveate.benchmarks.gpu.references import ReferenceSet
from foveate.benchmarks.gpu.step_runner import PASSED, Outcome, Step
from foveate.benchmarks.gpu.task import CHECKOUT, CheckSettings
from foveate.benchmarks.gpu.torch_step import WAYS
from foveate.runtime.toolkit import FLAVOURS

TENSORRT, ORT_CUDA = "tensorrt", "onnxruntime-cuda"
FAST_FIRST = {TENSORRT: ("fp16", "fp32", "tf32"), ORT_CUDA: ("fp16", "fp32")}
"""Engine -> its precisions, what is measured first, should the time run out."""


def smoke_steps() -> list[Step]:
    """Return a smoke of every TensorRT here, and of ONNX Runtime's CUDA provider.

    The engine takes the first TensorRT; where none is installed, its smoke says so.
    """
    flavours = [name for name in FLAVOURS if find_spec(name)] or list(FLAVOURS)[:1]
    steps = [
        Step(f"smoke {name}", "smoke", 60, {"engine": name}, required=name == flavours[0])
        for name in flavours
    ]
    return [*steps, Step(f"smoke {ORT_CUDA}", "smoke", 40, {"engine": ORT_CUDA}, required=False)]


def engines(smokes: Sequence[Outcome]) -> list[str]:
    """Return the engines that run here, the one to measure first."""
    tensorrt, cuda = smokes[0], smokes[-1]
    found = [TENSORRT] if tensorrt.status == PASSED else []
    return found + ([ORT_CUDA] if cuda.status == PASSED else [])


def steps_after(
    smokes: Sequence[Outcome], sets: Sequence[ReferenceSet], settings: CheckSettings
) -> list[Step]:
    """Return what is run after the smokes, the most important first."""
    steps = [Step("pytest", "pytest", 75)] if (CHECKOUT / "tests" / "gpu").is_dir() else []
    here, first = engines(smokes), sets[0].name
    ways = [_way(way, first, settings.few_batches) for way in reversed(WAYS)]
    if not here:
        return [*steps, *ways]
    if here[0] == TENSORRT:
        steps += _builds(sets, settings, smokes[0].results.get("targets", []))
    return [*steps, *_measured(here[0], sets, settings, ways), *_beside(here[1:], first)]


def _way(way: str, name: str, batches: Sequence[int]) -> Step:
    """Return a step of PyTorch; compiling again for every batch would take it too long."""
    compiled = way.startswith("compiled")
    some = sorted({batches[0], batches[-1]}) if compiled else batches
    arguments = {"set": name, "way": way, "batches": some}
    return Step(f"torch {way}", "torch", 100 if compiled else 50, arguments, required=False)


def _builds(sets: Sequence[ReferenceSet], settings: CheckSettings, targets: Any) -> list[Step]:
    most = {part.name: max(settings.batches) if part is sets[0] else 1 for part in sets}
    return [
        Step(f"build {name}", "build", 60, {"set": name, "most": batch, "targets": targets})
        for name, batch in most.items()
    ]


def _measured(
    engine: str, sets: Sequence[ReferenceSet], settings: CheckSettings, ways: Sequence[Step]
) -> list[Step]:
    first = sets[0].name
    parities = [
        Step(f"parity {engine} {part.name}", "parity", 60, _parity(engine, part.name))
        for part in sets
    ]
    where = {"engine": engine, "set": first}
    latencies = [
        Step(f"latency {engine} {name}", "latency", 40, {**where, "precision": name})
        for name in FAST_FIRST[engine]
    ]
    rates = [
        _rate(where, name, settings.batches if name == "fp16" else settings.few_batches)
        for name in FAST_FIRST[engine]
    ]
    return [*parities, *latencies, rates[0], *ways, *rates[1:]]


def _parity(engine: str, name: str) -> dict[str, Any]:
    return {"engine": engine, "set": name, "precisions": FAST_FIRST[engine]}


def _rate(where: Mapping[str, Any], precision: str, batches: Sequence[int]) -> Step:
    arguments = {**where, "precision": precision, "batches": batches}
    name = f"throughput {where['engine']} {precision}"
    return Step(name, "throughput", 70, arguments, required=precision == "fp16")


def _beside(others: Sequence[str], first: str) -> list[Step]:
    """Return parity and latency of the engines that are not the first."""
    steps = []
    for engine in others:
        where = {"engine": engine, "set": first}
        what = _parity(engine, first)
        steps.append(Step(f"parity {engine} {first}", "parity", 40, what, required=False))
        steps += [
            Step(
                f"latency {engine} {name}", "latency", 40, {**where, "precision": name},
                required=False,
            )
            for name in FAST_FIRST[engine]
        ]  # fmt: skip
    return steps
