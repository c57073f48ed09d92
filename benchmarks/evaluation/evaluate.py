"""What the masks are worth: every figure of every image, class and method.

A bundle is evaluated in ONNX Runtime and needs no torch; a run is evaluated in PyTorch. One image
is held at a time; what stays is one row of figures per image, class and method, one per object,
and the sums of the calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.evaluation.calibration import Reliability
from foveate.benchmarks.evaluation.metrics import Metrics, measure
from foveate.benchmarks.evaluation.models import EvaluationJob, check_job
from foveate.benchmarks.evaluation.objects import (
    Components,
    TruthObject,
    components,
    covered_shares,
    false_objects,
)
from foveate.benchmarks.evaluation.sweep import Sweep
from foveate.benchmarks.evaluation.views import View, only_labelled
from foveate.runtime.agreement import IGNORED, without_ignored
from foveate.runtime.io.formats.pixel_size import PixelSize

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageRow:
    """One image, class and method.

    ``truth_pixels`` and ``predicted_pixels`` count the class, ``pixels`` the image. ``missed`` is
    the share of the class's truth outside the box of stage 2, NaN without truth.
    """

    stem: str
    label: int
    method: str
    metrics: Metrics
    truth_pixels: int
    predicted_pixels: int
    pixels: int
    missed: float
    false_objects: int


@dataclass
class Evaluation:
    """Every figure of a data set, images in order. ``groups`` names the group of each stem.

    ``sweep`` is None where none was asked for.
    """

    classes: tuple[str, ...]
    methods: tuple[str, ...]
    groups: dict[str, str]
    rows: list[ImageRow] = field(default_factory=list)
    objects: list[TruthObject] = field(default_factory=list)
    reliability: dict[str, Reliability] = field(default_factory=dict)
    sweep: Sweep | None = None

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.groups)


def evaluate(job: EvaluationJob, progress: Callable[[str, int, int], None]) -> Evaluation:
    """Return the figures of every image of the job's data set."""
    check_job(job)
    dataset = job.dataset
    groups = {stem: dataset.groups.get(stem, stem) for stem in dataset.stems}
    found = Evaluation(job.classes, job.methods, groups)
    found.reliability = {method: Reliability() for method in job.methods}
    found.sweep = Sweep(job.model.spec, job.decision) if job.sweep else None
    for number, stem in enumerate(dataset.stems):
        image, truth, size = dataset.image(stem), dataset.mask(stem), job.size_of(stem)
        result = job.model.segment(image)
        add_image(found, stem, job.views(stem, image, result), truth, job.tolerance, size)
        if found.sweep is not None:
            found.sweep.add(result, truth, size)
        progress("evaluating", number + 1, len(dataset.stems))
    return found


def add_image(
    found: Evaluation,
    stem: str,
    seen: dict[str, View],
    truth: Mask,
    tolerance: float,
    size: PixelSize | None = None,
) -> None:
    """Add one image's figures: ``seen`` holds a view of each method, ``truth`` is (H, W) classes.

    ``tolerance`` and ``size`` as for ``measure``.

    Pixels that are IGNORED in the truth are background in both. The calibration looks at the others
    inside the method's box only.
    """
    labelled = truth != IGNORED
    seen = {method: only_labelled(view, truth) for method, view in seen.items()}
    truth = without_ignored(truth, truth)
    for label in range(1, len(found.classes) + 1):
        target = components(truth == label)
        for method, view in seen.items():
            mask = view.mask == label
            metrics = measure(mask, truth == label, tolerance, size)
            found.rows.append(_row(stem, label, method, view, truth, metrics))
            found.objects += _objects(stem, label, method, target, mask)
    for method, view in seen.items():
        counted = view.inside & labelled
        found.reliability[method].add(view.foreground[counted], truth[counted] > 0)


def _row(stem: str, label: int, method: str, view: View, truth: Mask, metrics: Metrics) -> ImageRow:
    mask, target = view.mask == label, truth == label
    count = int(np.count_nonzero(target))
    outside = int(np.count_nonzero(target & ~view.inside))
    return ImageRow(
        stem=stem,
        label=label,
        method=method,
        metrics=metrics,
        truth_pixels=count,
        predicted_pixels=int(np.count_nonzero(mask)),
        pixels=truth.size,
        missed=outside / count if count else float("nan"),
        false_objects=false_objects(mask, target),
    )


def _objects(
    stem: str, label: int, method: str, target: Components, mask: npt.NDArray[np.bool_]
) -> Iterator[TruthObject]:
    shares = covered_shares(target, mask)
    for index, (area, box, share) in enumerate(
        zip(target.areas, target.boxes_xyxy, shares, strict=True)
    ):
        yield TruthObject(stem, label, method, index + 1, area, box, share)
