"""A contest: several ways to segment the same images, timed in turn, their masks judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from foveate.benchmarks.parity import Reference, Segment
from foveate.benchmarks.timing import WarmUp, distribution, interleaved, ratio, warm_up
from foveate.runtime.overlap import Disagreement, compare_masks, moved
from foveate.train.dataset import Case

OURS = "foveate"
"""Key of the method that all others are compared with."""


@dataclass
class Method:
    """One way to get masks; ``segment`` is None where it cannot run, for ``reason``."""

    key: str
    name: str
    how: str
    segment: Segment | None
    reason: str = ""
    warm_up: WarmUp = WarmUp(0, False)
    total: Disagreement = field(default_factory=Disagreement)

    def judge(self, case: Case, found: Any, wanted: Any) -> None:
        """Add a timed mask and box to the total, once for each image."""
        if any(pair.name == case.name for pair in self.total.pairs):
            return
        (mask, box), (mask_wanted, box_wanted) = found, wanted
        shifted = moved(box, box_wanted)
        self.total.add(compare_masks(case.name, mask, mask_wanted, shifted, case.truth))


@dataclass(frozen=True)
class Part:
    """Something timed beside the methods, to say where the time goes; called with an index."""

    name: str
    run: Callable[[int], object]


@dataclass(frozen=True)
class Contest:
    """What runs against what, on which images, for how many rounds."""

    methods: Sequence[Method]
    parts: Sequence[Part]
    reference: Reference
    cases: Sequence[Case]
    rounds: int


def hold(contest: Contest, progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Return methods and parts of a compare result; the methods' totals are filled on the way."""
    cases = contest.cases
    here = {method.key: method for method in contest.methods if method.segment is not None}
    wanted = []
    for number, case in enumerate(cases):
        wanted.append(contest.reference.segment(case.image))
        progress("reference masks", number + 1, len(cases))
    calls: dict[str, Callable[[int], Any]] = {}
    for key, method in here.items():
        calls[key] = _call(method, cases)
    for part in contest.parts:
        calls[part.name] = lambda number, run=part.run: run(number % len(cases))
    for done, (key, call) in enumerate(calls.items()):
        found = warm_up(lambda call=call: call(0))
        if key in here:
            here[key].warm_up = found
        progress("warming up", done + 1, len(calls))

    def judge(key: str, number: int, found: Any) -> None:
        if key in here:
            index = number % len(cases)
            here[key].judge(cases[index], found, wanted[index])

    times = interleaved(
        calls, contest.rounds, judge, lambda done, total: progress("comparing", done, total)
    )
    return {
        "rounds": contest.rounds,
        "methods": [_method_row(method, times) for method in contest.methods],
        "parts": [_part_row(part, times) for part in contest.parts],
    }


def _call(method: Method, cases: Sequence[Case]) -> Callable[[int], Any]:
    segment = method.segment
    assert segment is not None
    return lambda number: segment(cases[number % len(cases)].image)


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
        "emptiness_flips": method.total.flips,
        "moved_boxes": len(method.total.moved_boxes),
        "warm_up": asdict(method.warm_up),
    }
