"""The figures of a data set: means with their intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.evaluation import bootstrap, metrics
from foveate.benchmarks.evaluation.bootstrap import Interval
from foveate.benchmarks.evaluation.evaluate import Evaluation, ImageRow
from foveate.benchmarks.evaluation.objects import SizeBin, recall_by_size
from foveate.benchmarks.evaluation.sweep import SweepLine
from foveate.benchmarks.evaluation.views import CASCADE, SINGLE, STAGE1

LOST_SHARE = 0.02
"""An image whose box leaves out more of the truth than this is counted as one that loses."""
MEAN = "mean"
PAIRS = ((CASCADE, STAGE1), (CASCADE, SINGLE))
"""Which methods are compared: the first minus the second."""


@dataclass(frozen=True)
class CoarseMiss:
    """Truth outside the boxes of stage 2.

    ``pooled`` is the share of all truth pixels of all images, ``losing`` the number of images that
    lose more than 2% of their truth, of ``images`` that have any truth.
    """

    pooled: float
    losing: int
    images: int

    def losing_words(self) -> str:
        """Return how many images lose truth, in words."""
        return f"{self.losing} of {self.images} images lose more than {LOST_SHARE:.0%}"


def coarse_miss(rows: Sequence[ImageRow], method: str) -> CoarseMiss:
    """Return what the boxes of a method leave out, all classes together."""
    lost: dict[str, float] = {}
    total: dict[str, int] = {}
    for row in rows:
        if row.method == method and row.truth_pixels:
            lost[row.stem] = lost.get(row.stem, 0.0) + row.missed * row.truth_pixels
            total[row.stem] = total.get(row.stem, 0) + row.truth_pixels
    losing = sum(lost[stem] > LOST_SHARE * total[stem] for stem in total)
    pooled = sum(lost.values()) / sum(total.values()) if total else float("nan")
    return CoarseMiss(pooled, losing, len(total))


@dataclass(frozen=True)
class Line:
    """One method and class, or the mean over the classes. ``figures`` go by ``metrics.NAMES``.

    ``images`` are those the means rest on; ``both_empty`` those left out because neither mask nor
    truth has the class. In a line of differences ``against`` is the method subtracted.
    """

    method: str
    name: str
    figures: dict[str, Interval]
    images: int
    both_empty: int
    against: str = ""


@dataclass(frozen=True)
class ObjectRecall:
    """Recall of one method over all objects, and the false objects in a mean image."""

    method: str
    objects: int
    found: int
    false_per_image: float

    @property
    def recall(self) -> float:
        return self.found / self.objects if self.objects else float("nan")


@dataclass(frozen=True)
class Summary:
    """Everything that is reported of an evaluation.

    ``missed`` is None where there is no box; ``sweep`` is empty where none was asked for.
    """

    images: int
    groups: int
    lines: list[Line]
    differences: list[Line]
    objects: list[ObjectRecall]
    sizes: list[SizeBin]
    missed: CoarseMiss | None
    ece: dict[str, float]
    sweep: list[SweepLine]


def summarise(found: Evaluation) -> Summary:
    """Return the means per class, then over the classes, of each method, and all the rest.

    An image where neither mask nor truth has a class says nothing of that class: it is left out
    of the mean and counted in ``both_empty``.
    """
    values = table(found)
    groups = [found.groups[stem] for stem in found.stems]
    draws = bootstrap.resample(values.reshape(-1, *values.shape[2:]), groups)
    lines, differences = _lines(found, values, draws)
    return Summary(
        images=len(found.stems),
        groups=len(set(groups)),
        lines=lines,
        differences=differences,
        objects=[_object_recall(found, method) for method in found.methods],
        sizes=recall_by_size(found.objects, found.methods),
        missed=coarse_miss(found.rows, CASCADE) if CASCADE in found.methods else None,
        ece={method: found.reliability[method].ece for method in found.methods},
        sweep=list(found.sweep.lines(MEAN)) if found.sweep else [],
    )


def table(found: Evaluation) -> npt.NDArray[np.float64]:
    """Return the figures as (methods, metrics, classes, images), NaN where there is none.

    No image has ``hd95_mm`` where one has a distance in pixels alone: means would be over others.
    """
    shape = len(found.methods), len(metrics.NAMES), len(found.classes), len(found.stems)
    values = np.full(shape, np.nan)
    image = {stem: index for index, stem in enumerate(found.stems)}
    for row in found.rows:
        figures = [getattr(row.metrics, name) for name in metrics.NAMES]
        values[found.methods.index(row.method), :, row.label - 1, image[row.stem]] = figures
    pixels, mm = (values[:, metrics.NAMES.index(name)] for name in ("hd95", "hd95_mm"))
    if np.isnan(mm[~np.isnan(pixels)]).any():
        mm[...] = np.nan
    return values


def _lines(
    found: Evaluation, values: npt.NDArray[np.float64], draws: bootstrap.Draws
) -> tuple[list[Line], list[Line]]:
    """Return the lines of every method and class, and those of the paired differences."""
    names, place = (*found.classes, MEAN), {name: i for i, name in enumerate(found.methods)}
    lines, differences = [], []
    for method in found.methods:
        known = ~np.isnan(values[place[method], 0])
        counts = [int(row.sum()) for row in known] + [int(known.any(axis=0).sum())]
        for column, name in enumerate(names):
            figures = _figures(draws, column, place[method])
            empty = len(found.stems) - counts[column]
            lines.append(Line(method, name, figures, counts[column], empty))
    for method, against in PAIRS:
        if method in place and against in place:
            for column, name in enumerate(names):
                figures = _figures(draws, column, place[method], place[against])
                differences.append(Line(method, name, figures, len(found.stems), 0, against))
    return lines, differences


def _figures(
    draws: bootstrap.Draws, column: int, method: int, against: int | None = None
) -> dict[str, Interval]:
    """Return the interval of every metric of a class and method, or of a paired difference."""
    figures = {}
    for index, name in enumerate(metrics.NAMES):
        row = method * len(metrics.NAMES) + index
        whole, resampled = draws.whole[row, column], draws.resampled[:, row, column]
        if against is not None:
            row = against * len(metrics.NAMES) + index
            whole = whole - draws.whole[row, column]
            resampled = resampled - draws.resampled[:, row, column]
        figures[name] = bootstrap.interval(whole, resampled)
    return figures


def _object_recall(found: Evaluation, method: str) -> ObjectRecall:
    ours = [item for item in found.objects if item.method == method]
    false = sum(row.false_objects for row in found.rows if row.method == method)
    return ObjectRecall(
        method, len(ours), sum(item.found for item in ours), false / len(found.stems)
    )
