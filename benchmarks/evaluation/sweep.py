"""Measure the masks of many thresholds, from probabilities that are computed once per image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.evaluation import bootstrap
from foveate.benchmarks.evaluation.metrics import overlap
from foveate.benchmarks.evaluation.objects import false_objects
from foveate.runtime.agreement import without_ignored
from foveate.runtime.cascade.decide import decided_masks
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.result import Mask, Result
from foveate.runtime.spec import CascadeSpec

STEPS = tuple(step / 20 for step in range(1, 20))
"""0.05 to 0.95, to which the threshold of the bundle is added."""


@dataclass(frozen=True)
class SweepLine:
    """One threshold and class, or the mean over the classes, whose objects are those of all.

    ``threshold`` is None for the rule of several classes: the most probable wins. ``own`` says
    that it is what the model does by itself. Figures as for ``Metrics``, NaN where no image has
    one.
    """

    name: str
    threshold: float | None
    own: bool
    dice: float
    iou: float
    precision: float
    recall: float
    false_per_image: float


class Sweep:
    """The figures of every threshold; what stays of an image is a row of numbers for each.

    The other steps of ``decision`` are taken after each threshold.
    """

    def __init__(self, spec: CascadeSpec, decision: Decision) -> None:
        self._spec = spec
        self._own = spec.mask_threshold if spec.binary else None
        steps = [*STEPS, *({self._own} - {None, *STEPS})]
        self._thresholds = [*([] if spec.binary else [None]), *sorted(filter(None, steps))]
        self._decisions = [replace(decision, threshold=value) for value in self._thresholds]
        self._overlaps: list[npt.NDArray[np.float64]] = []
        self._false: list[npt.NDArray[np.int64]] = []

    def add(self, result: Result, truth: Mask, size: PixelSize | None) -> None:
        """Add an image: its result with probabilities, and its (H, W) truth."""
        masks = decided_masks(result, self._spec, self._decisions, size)
        labelled = without_ignored(truth, truth)
        labels = range(1, len(self._spec.classes))
        targets = {label: labelled == label for label in labels}
        overlaps = np.empty((len(masks), 4, len(labels)))
        false = np.empty((len(masks), len(labels)), np.int64)
        for number, mask in enumerate(masks):
            mask = without_ignored(mask, truth)
            for label, target in targets.items():
                inside = mask == label
                overlaps[number, :, label - 1] = overlap(inside, target)
                false[number, label - 1] = false_objects(inside, target)
        self._overlaps.append(overlaps)
        self._false.append(false)

    def lines(self, mean: str) -> Iterator[SweepLine]:
        """Yield the lines of every class, then those of all, called ``mean``, by threshold."""
        values = np.stack(self._overlaps, axis=-1)  # (thresholds, 4, classes, images)
        means = bootstrap.means(values.reshape(-1, *values.shape[2:]))
        means = means.reshape(len(values), 4, -1)
        counts = np.stack(self._false).sum(axis=0)
        false = np.column_stack([counts, counts.sum(axis=1)]) / len(self._false)
        for column, name in enumerate((*self._spec.classes[1:], mean)):
            for number, value in enumerate(self._thresholds):
                dice, iou, precision, recall = means[number, :, column].tolist()
                alarms, own = float(false[number, column]), value == self._own
                yield SweepLine(name, value, own, dice, iou, precision, recall, alarms)
