"""What contradicts itself in a result is found, by the rule that looks at it."""

from __future__ import annotations

from typing import Any

import pytest

from foveate.benchmarks.schema.consistency import fails, find_inconclusive, find_issues, find_lost
from tests.benchmarks import benchmark_results as made

LOST = made.parity(disagreement=0.98, dice_change=-0.9135, held=False)
LIES: list[tuple[str, str, Any, str]] = [
    ("latency", "rows.0.stages.execute", made.times(made.seconds(4e-5)), "the stages add up to"),
    ("latency", "rows.0.elapsed_s", 1730.0, "the wall clock says"),
    ("latency", "rows.0.call.p99_ms", 40.0, "p99_ms is"),
    ("latency", "rows.1.whole.mean_ms", 150.0, "mean_ms is"),
    ("latency", "rows.0.stages.decode.n", 39, "40 samples for n = 39"),
    ("compare", "methods.1.ratio.median", 2100.0, "PyTorch eager: a ratio of 2.1e+03"),
    ("compare", "methods.0.key", "other", "foveate itself was not measured"),
    ("throughput", "files.images_per_second", 40.0, "above their ceiling"),
    ("throughput", "roofline.share", 1.4, "measured peaks allow"),
    ("throughput", "grid.0.share.median", 0.001, "another unit"),
]


def change(result: dict[str, Any], place: str, value: Any) -> None:
    """Put a value in a place of the results."""
    *path, name = place.split(".")
    part: Any = result["results"]
    for key in path:
        part = part[int(key) if isinstance(part, list) else key]
    part[name] = value


@pytest.mark.parametrize(("kind", "place", "value", "said"), LIES, ids=[x[1] for x in LIES])
def test_a_lie_is_found(kind: str, place: str, value: Any, said: str) -> None:
    result = made.RESULTS[kind]()
    assert find_issues(result) == []
    change(result, place, value)
    assert find_inconclusive(result) == []
    assert any(said in issue for issue in find_issues(result)), find_issues(result)


@pytest.mark.parametrize("lie", [LIES[0], LIES[7], LIES[8]], ids=lambda lie: str(lie[1]))
def test_times_of_a_busy_machine_are_inconclusive(lie: tuple[str, str, Any, str]) -> None:
    kind, place, value, said = lie
    result = made.RESULTS[kind]()
    result["warnings"] = ["other processes keep 1.9 cores busy: close them"]
    change(result, place, value)
    assert find_issues(result) == []
    (text,) = find_inconclusive(result)
    assert said in text


@pytest.mark.parametrize(
    ("parity", "said"),
    [
        ({}, "no parity was measured"),
        ({"openvino fp32": made.parity()}, f"{made.VARIANT}: no parity was measured"),
    ],
)
def test_a_speed_without_parity_is_an_issue(parity: dict[str, Any], said: str) -> None:
    result = {**made.latency_result(), "parity": parity}
    assert any(said in issue for issue in find_issues(result)), find_issues(result)


@pytest.mark.parametrize(
    ("variant", "command", "failed"),
    [
        (made.VARIANT, "foveate benchmark latency tiny.bundle", True),
        ("openvino bf16", "foveate benchmark latency tiny.bundle", False),
        ("openvino bf16", "foveate benchmark latency tiny.bundle --precision bf16", True),
    ],
)
def test_a_variant_with_other_masks_is_named(variant: str, command: str, failed: bool) -> None:
    result = {**made.latency_result(), "command": command}
    result["parity"] = {made.VARIANT: made.parity(), variant: LOST}
    assert find_issues(result) == []
    (text,) = find_lost(result).values()
    assert f"{variant} gives other masks" in text
    assert "disagreement 0.9800, expected at most 0.001, Dice change -0.9135" in text
    assert fails(result) == failed
