"""Dice against the time of an image: several models on the same images, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from foveate.benchmarks.compare.comparison import DICE_APART
from foveate.benchmarks.evaluation import bootstrap
from foveate.benchmarks.measure.images import Images, most_frequent
from foveate.benchmarks.measure.parity import Reference, parity_row
from foveate.benchmarks.measure.targets import Variant, Variants
from foveate.benchmarks.measure.timing import PAUSE_SECONDS, distribution, interleaved, warm_up
from foveate.runtime.agreement import Disagreement, compare_masks, dice, moved, without_ignored
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.result import Result
from foveate.train.data.dataset import Case

ROUNDS = 40
"""Least rounds, and most images that are timed; each of these is timed equally often."""
Progress = Callable[[str, int, int], None]


@dataclass
class Point:
    """One model with one engine and precision; ``dice`` holds that of each image and class."""

    model: str
    variant: Variant
    cascade: Cascade
    total: Disagreement = field(default_factory=Disagreement)
    dice: list[list[float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.model}, {self.variant.name}"

    def judge(self, case: Case, expected: tuple[Any, Any]) -> None:
        """Segment an image; add its Dice, and its parity with the expected mask and boxes."""
        assert case.truth is not None
        result, (mask, box) = self.cascade(case.image), expected
        shifted = moved(result.box_xyxy, box)
        self.total.add(compare_masks(case.name, result.mask, mask, shifted, case.truth))
        ours, truth = (without_ignored(one, case.truth) for one in (result.mask, case.truth))
        labels = range(1, len(self.cascade.spec.classes))
        self.dice.append([dice(ours, truth, label) for label in labels])


@dataclass(frozen=True)
class Candidate:
    """A model, loaded in its variants, and the reference that they are compared with."""

    name: str
    found: Variants
    reference: Reference
    points: tuple[Point, ...]

    @classmethod
    def of(cls, name: str, found: Variants, reference: Reference) -> Candidate:
        """Return a model with a point for each of its variants."""
        points = tuple(Point(name, *loaded) for loaded in found.cascades.items())
        return cls(name, found, reference, points)


def timed_images(images: Images) -> Images:
    """Return at most 40 images, spread evenly over all."""
    count = min(len(images), ROUNDS)
    return images.only([index * len(images) // count for index in range(count)])


def measure_points(
    candidates: Sequence[Candidate], images: Images, threads: int, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row for every point, with Dice and times, and the parity of each by its name.

    Dice and parity are those of all images. As ``segment`` does, engines are compiled for the most
    frequent sizes.
    """
    points = [point for candidate in candidates for point in candidate.points]
    sizes = most_frequent(images.sizes)
    for number, point in enumerate(points):
        progress(f"warming up {point.name}", number, len(points))
        point.cascade.warm_up(sizes)
    for number, case in enumerate(images):
        for candidate in candidates:
            expected = candidate.reference.segment(case.image)
            for point in candidate.points:
                point.judge(case, expected)
        progress("Dice and parity", number + 1, len(images))
    scores = _intervals(points, images.groups)
    on_cpu = any(candidate.found.on_cpu for candidate in candidates)
    times = _times(points, timed_images(images), on_cpu, progress)
    rows: list[dict[str, Any]] = [
        {
            "variant": point.name,
            "model": point.model,
            "engine": point.variant.engine,
            "precision": point.variant.precision,
            "threads": threads,
            "dice": asdict(score),
            "ms": asdict(distribution(times[point.name])),
        }
        for point, score in zip(points, scores, strict=True)
    ]
    parity = {
        point.name: parity_row(candidate.reference.name, point.variant.precision, point.total)
        for candidate in candidates
        for point in candidate.points
    }
    beaten = dominated_by(
        {
            row["variant"]: (row["dice"]["value"], row["ms"]["median_ms"])
            for row in rows
            if parity[row["variant"]]["held"]
        }
    )
    for row in rows:
        name = row["variant"]
        row |= {"front": name in beaten and beaten[name] is None, "dominated_by": beaten.get(name)}
    return rows, parity


def _intervals(points: Sequence[Point], groups: Sequence[str]) -> list[bootstrap.Interval]:
    """Return the mean Dice of each point with its interval, all on the same draws."""
    values = np.array([point.dice for point in points], float).transpose(0, 2, 1)
    draws = bootstrap.resample(values, groups)
    return [
        bootstrap.interval(draws.whole[index, -1], draws.resampled[:, index, -1])
        for index in range(len(points))
    ]


def _times(
    points: Sequence[Point], timed: Images, on_cpu: bool, progress: Progress
) -> dict[str, list[float]]:
    """Return the seconds of every round of each point, by its name."""
    images = [case.image for case in timed]
    calls = {point.name: partial(_call, point.cascade, images) for point in points}
    for call in calls.values():
        warm_up(partial(call, 0))
    rounds = -(-ROUNDS // len(images)) * len(images)
    shown = partial(progress, "timing")
    return interleaved(calls, rounds, progress=shown, pause_s=PAUSE_SECONDS if on_cpu else 0.0)


def _call(cascade: Cascade, images: Sequence[Pixels], number: int) -> Result:
    return cascade(images[number % len(images)])


def dominated_by(points: Mapping[str, tuple[float, float]]) -> dict[str, str | None]:
    """Return what beats each (Dice, milliseconds) by its name; None for the Pareto front.

    A point is on the front when its Dice is higher, by more than ``DICE_APART``, than that of any
    point of the front that takes at most its time.
    """
    found: dict[str, str | None] = {}
    best: str | None = None
    for name in sorted(points, key=lambda name: (points[name][1], -points[name][0])):
        if best is None or points[name][0] > points[best][0] + DICE_APART:
            best, found[name] = name, None
        else:
            found[name] = best
    return found
