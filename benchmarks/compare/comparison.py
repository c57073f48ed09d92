"""Several ways to segment the same images, timed alternately, their masks compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from foveate.benchmarks.measure.parity import Reference
from foveate.benchmarks.measure.timing import (
    PAUSE_SECONDS,
    WarmUp,
    distribution,
    interleaved,
    ratio,
    warm_up,
)
from foveate.runtime.agreement import Disagreement, compare_masks, moved
from foveate.runtime.arrays import Pixels
from foveate.train.data.dataset import Case

OURS = "foveate"
"""Key of the method that all others are compared with."""
DICE_APART = 0.001
"""Two Dice closer than this are called the same."""
Segment = Callable[[Sequence[Pixels]], Sequence[tuple[Any, Any]]]
"""Images to the mask (H, W) and the box (4,) of each."""


@dataclass
class Method:
    """One way to get masks of a batch; ``segment`` is None where it cannot run, for ``reason``."""

    key: str
    name: str
    how: str
    segment: Segment | None
    reason: str = ""
    warm_up: WarmUp = WarmUp(0, False)
    total: Disagreement = field(default_factory=Disagreement)

    def judge(self, case: Case, found: Any, expected: Any) -> None:
        """Add a timed mask and box to the total, once for each image."""
        if any(pair.name == case.name for pair in self.total.pairs):
            return
        (mask, box), (mask_expected, box_expected) = found, expected
        shifted = moved(box, box_expected)
        self.total.add(compare_masks(case.name, mask, mask_expected, shifted, case.truth))


@dataclass(frozen=True)
class Part:
    """Something timed next to the methods, to show where the time goes; called with an index."""

    name: str
    run: Callable[[int], object]


@dataclass(frozen=True)
class Comparison:
    """What runs against what, on which images, for how many rounds, ``batch`` images a call."""

    methods: Sequence[Method]
    parts: Sequence[Part]
    reference: Reference
    cases: Sequence[Case]
    rounds: int
    batch: int = 1
    pause_s: float = PAUSE_SECONDS

    def indices(self, number: int) -> list[int]:
        """Return which images a round takes."""
        first = number * self.batch
        return [(first + index) % len(self.cases) for index in range(self.batch)]


def run_comparison(
    comparison: Comparison, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Return methods and parts of a compare result; the methods' totals are filled on the way."""
    cases, expected = comparison.cases, _expected(comparison, progress)
    methods = {method.key: method for method in comparison.methods if method.segment is not None}
    calls = {
        **{key: partial(_segment, method, comparison) for key, method in methods.items()},
        **{part.name: partial(_run_part, part, len(cases)) for part in comparison.parts},
    }
    for done, (key, call) in enumerate(calls.items()):
        name = methods[key].name if key in methods else key
        progress(f"warming up {name}", done, len(calls))
        found = warm_up(partial(call, 0))
        if key in methods:
            methods[key].warm_up = found

    def judge(key: str, number: int, found: Any) -> None:
        if key in methods:
            for index, pair in zip(comparison.indices(number), found, strict=True):
                methods[key].judge(cases[index], pair, expected[index])

    shown = partial(progress, "comparing")
    times = interleaved(calls, comparison.rounds, judge, shown, comparison.pause_s)
    return {
        "rounds": comparison.rounds,
        "batch": comparison.batch,
        "methods": [_method_row(method, times) for method in comparison.methods],
        "parts": [_part_row(part, times) for part in comparison.parts],
    }


def _expected(comparison: Comparison, progress: Callable[[str, int, int], None]) -> list[Any]:
    """Return the reference's mask and box of every image."""
    expected = []
    for number, case in enumerate(comparison.cases):
        expected.append(comparison.reference.segment(case.image))
        progress("reference masks", number + 1, len(comparison.cases))
    return expected


def _segment(method: Method, comparison: Comparison, number: int) -> Any:
    assert method.segment is not None
    return method.segment([comparison.cases[index].image for index in comparison.indices(number)])


def _run_part(part: Part, images: int, number: int) -> object:
    return part.run(number % images)


def _part_row(part: Part, times: dict[str, list[float]]) -> dict[str, Any]:
    own = times[part.name]
    return {
        "name": part.name,
        "ms": asdict(distribution(own)),
        "ratio": asdict(ratio(own, times[OURS])),
    }


def _method_row(method: Method, times: dict[str, list[float]]) -> dict[str, Any]:
    if method.segment is None:
        return {"key": method.key, "name": method.name, "here": False, "reason": method.reason}
    own, dice = times[method.key], method.total.mean_dice
    return {
        "key": method.key,
        "name": method.name,
        "how": method.how,
        "here": True,
        "ms": asdict(distribution(own)),
        "ratio": asdict(ratio(own, times[OURS])),
        "dice": dice[0] if dice else None,
        "dice_reference": dice[1] if dice else None,
        "disagreement": method.total.value,
        "false_alarms": method.total.false_alarms,
        "emptiness_flips": method.total.flips,
        "moved_boxes": len(method.total.moved_boxes),
        "warm_up": asdict(method.warm_up),
    }


def summarise_comparison(methods: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (style, sentence) of who is faster, level, slower and better than foveate here.

    Faster is a method whose spread lies below 1, level one whose spread holds 1.
    """
    here = [item for item in methods if item["here"]]
    ours = next((item for item in here if item["key"] == "foveate"), None)
    others = sorted((i for i in here if i is not ours), key=lambda item: item["ratio"]["median"])
    if ours is None or not others:
        return []
    faster = [item for item in others if item["ratio"]["high"] < 1]
    slower = [item for item in others if item["ratio"]["low"] > 1]
    level = [item for item in others if item not in faster and item not in slower]
    found = [
        ("poor", "Faster than foveate: ", faster),
        ("fair", "Level with foveate (the spread of the ratio holds 1): ", level),
        ("good", "Slower than foveate: ", slower),
    ]
    words = [(style, text + "; ".join(map(_time, items)) + ".") for style, text, items in found]
    words = [words[index] for index, (_, _, items) in enumerate(found) if items]
    if not faster:
        words.insert(0, ("good", "No method measured here is faster than foveate."))
    return words + _better(ours, others)


def _time(item: Mapping[str, Any]) -> str:
    return f"{item['name']} ({_three_figures(item['ratio']['median'])} times our time)"


def _better(ours: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    if ours["dice"] is None:
        return []
    better = [
        f"{item['name']} ({item['dice']:.4f})"
        for item in others
        if item["dice"] is not None and item["dice"] > ours["dice"] + DICE_APART
    ]
    text = f"Higher Dice than foveate's {ours['dice']:.4f}: {'; '.join(better)}."
    return [("poor", text)] if better else []


def _three_figures(value: float) -> str:
    places = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"{value:.{places}f}"
