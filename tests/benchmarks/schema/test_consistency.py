"""What contradicts itself in a result is found, by the rule that looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from foveate.benchmarks.schema.consistency import find_issues
from tests.benchmarks import benchmark_results as made

Row = dict[str, Any]


def in_seconds(value: Any) -> Any:
    """Divide every time by 1000, samples too."""
    if not isinstance(value, dict):
        return value
    changed = {}
    for name, item in value.items():
        if name == "samples_ms":
            changed[name] = [sample / 1000 for sample in item]
        elif name.endswith("_ms"):
            changed[name] = item / 1000
        else:
            changed[name] = in_seconds(item)
    return changed


def stage_in_seconds(rows: list[Row]) -> None:
    rows[0]["stages"]["execute"] = made.times(made.seconds(0.0441 / 1000, seed=4))


def all_in_seconds(rows: list[Row]) -> None:
    rows[0].update({**in_seconds(rows[0]), "elapsed_s": rows[0]["elapsed_s"]})


def better_p99(rows: list[Row]) -> None:
    rows[0]["call"]["p99_ms"] *= 0.9


def better_mean(rows: list[Row]) -> None:
    rows[1]["whole"]["mean_ms"] *= 0.9


def samples_left_out(rows: list[Row]) -> None:
    rows[0]["stages"]["decode"] = made.times(made.seconds(0.007, 39))


def sleeping_engine(rows: list[Row]) -> None:
    rows[0]["overhead"] = {"median": 1.7, "low": 1.6, "high": 1.8}


def ratio_of_its_own(methods: list[Row]) -> None:
    methods[1]["ratio"] = {"median": 4.2, "low": 4.1, "high": 4.3}


def no_base(methods: list[Row]) -> None:
    del methods[0]


def above_the_ceiling(files: Row) -> None:
    files["images_per_second"] = 40.0


def above_the_roof(roofline: Row) -> None:
    roofline["share"] = 1.4


def above_the_engine(grid: list[Row]) -> None:
    grid[0]["share"] = {"median": 1.4, "low": 1.3, "high": 1.5}


LIES: list[tuple[str, str, Callable[[Any], None], str]] = [
    ("latency", "rows", stage_in_seconds, "the stages add up to"),
    ("latency", "rows", all_in_seconds, "are the times in milliseconds?"),
    ("latency", "rows", better_p99, "p99_ms is"),
    ("latency", "rows", better_mean, "mean_ms is"),
    ("latency", "rows", samples_left_out, "different numbers of samples"),
    ("latency", "rows", sleeping_engine, "times the bare engine"),
    ("compare", "methods", ratio_of_its_own, "PyTorch eager: a ratio of 4.2"),
    ("compare", "methods", no_base, "foveate itself was not measured"),
    ("throughput", "files", above_the_ceiling, "above the ceiling"),
    ("throughput", "roofline", above_the_roof, "measured peaks allow"),
    ("throughput", "grid", above_the_engine, "times the bare engine's rate"),
]


@pytest.mark.parametrize(("kind", "part", "lie", "said"), LIES, ids=[x[2].__name__ for x in LIES])
def test_a_lie_is_found(kind: str, part: str, lie: Callable[[Any], None], said: str) -> None:
    result = made.RESULTS[kind]()
    assert find_issues(result) == []
    lie(result["results"][part])
    assert any(said in issue for issue in find_issues(result)), find_issues(result)


@pytest.mark.parametrize(
    ("parity", "said"),
    [
        ({}, "no parity was measured"),
        ({"openvino fp32": made.parity()}, f"{made.VARIANT}: no parity was measured"),
        (
            {made.VARIANT: made.parity(disagreement=0.98, dice_change=-0.9135, held=False)},
            "disagreement 0.9800, expected at most 0.001, Dice change -0.9135",
        ),
    ],
)
def test_a_speed_without_parity_is_an_issue(parity: dict[str, Any], said: str) -> None:
    result = {**made.latency_result(), "parity": parity}
    assert any(said in issue for issue in find_issues(result)), find_issues(result)
