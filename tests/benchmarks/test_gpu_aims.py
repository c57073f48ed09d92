"""Aims on a GPU: met, missed, or null where nothing was measured or masks do not hold."""

from __future__ import annotations

from typing import Any

import pytest

from foveate.benchmarks.scripts.gpu_steps import OURS, aims
from tests.benchmarks import benchmark_results as made


def latency(ms: float, held: bool = True, size: int = 1024) -> dict[str, Any]:
    row = made.latency_row(base=ms / 1000) | {"variant": OURS, "height": size, "width": size}
    row["call"] = made.times([ms / 1000] * 3)
    return made.result("latency", {"rows": [row]}, parity={OURS: made.parity(held=held)})


def throughput(*shares: float, apart: float = 0.001) -> dict[str, Any]:
    rows = [
        {
            "variant": OURS,
            "of_ceiling": {"median": share},
            "disagreement": apart,
            "disagreement_bound": 0.01,
        }  # fmt: skip
        for share in shares
    ]
    return made.result("throughput", {"ceilings": rows}, parity={OURS: made.parity()})


def compare(batch: int, *ratios: float, ours: str = OURS) -> dict[str, Any]:
    methods = [made.method("foveate", f"foveate, {ours}", 0.001, 0.9)]
    for index, ratio in enumerate(ratios):
        item = made.method(f"gpu-torch-{index}", "PyTorch", 0.001, 0.9)
        methods.append(item | {"ratio": {"median": ratio, "low": ratio, "high": ratio}})
    methods.append({"key": "gpu-torch-x", "name": "x", "here": False, "reason": "none"})
    results = {"methods": methods, "batch": batch}
    return made.result("compare", results, parity={OURS: made.parity()})


def parity(**held: bool) -> dict[str, Any]:
    rows = {f"tensorrt {name}": made.parity(held=value) for name, value in held.items()}
    return made.result("parity", {"variants": rows}, parity=rows)


SETS = [parity(fp32=True, tf32=True, fp16=True)] * 3


def test_all_are_met() -> None:
    found = aims([latency(0.4), throughput(0.99, 0.96), compare(1, 9, 3.2), compare(8, 4), *SETS])
    assert [aim["value"] for aim in found] == [0.4, 0.96, 3.2, 4, 0]
    assert all(aim["met"] for aim in found)


def test_all_are_missed() -> None:
    lost = [*SETS[:2], parity(fp32=True, tf32=False, fp16=False)]
    found = aims([latency(0.6), throughput(0.99, 0.94), compare(1, 9, 2.9), compare(8, 1), *lost])
    assert [aim["value"] for aim in found] == [0.6, 0.94, 2.9, 1, 2]
    assert [aim["met"] for aim in found] == [False] * 5


@pytest.mark.parametrize(
    "results",
    [
        [],
        [latency(0.4, held=False), latency(0.4, size=512), throughput(0.99, apart=0.5)],
        [compare(1, 9, ours="onnxruntime-cuda fp16"), compare(4, 9), compare(8)],
        SETS[:2],
        [*SETS[:2], parity(fp32=True, fp16=True)],
    ],
    ids=["nothing", "masks do not hold", "not TensorRT", "two sets", "no tf32"],
)
def test_what_was_not_measured_is_null(results: list[dict[str, Any]]) -> None:
    assert [(aim["value"], aim["met"]) for aim in aims(results)] == [(None, None)] * 5
