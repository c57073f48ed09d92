"""What the masks are worth: every figure of every image, class and method.

A bundle is evaluated in ONNX Runtime and needs no torch; a run is evaluated in PyTorch. One image
is held at a time; what stays is one row of figures per image, class and method, one per object,
and the sums of the calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.calibration import Reliability
from foveate.benchmarks.metrics import Metrics, measure
from foveate.benchmarks.models import Model, View, methods, views
from foveate.benchmarks.objects import (
    Components,
    TruthObject,
    components,
    covered_shares,
    false_objects,
)
from foveate.runtime.engines.base import Pixels
from foveate.runtime.errors import BundleError, DataError
from foveate.train.dataset import DataSet

Mask = npt.NDArray[np.uint8]
LOST_SHARE = 0.02
"""An image whose box leaves out more of the truth than this is counted as one that loses."""


@dataclass(frozen=True)
class Job:
    """What to evaluate on what. ``tolerance`` is the surface Dice's, in pixels."""

    model: Model
    dataset: DataSet
    single: Model | None = None
    tolerance: float = 2.0

    @property
    def classes(self) -> tuple[str, ...]:
        """The foreground classes' names, label 1 first."""
        return self.model.spec.classes[1:]

    @property
    def methods(self) -> tuple[str, ...]:
        more = methods(self.single.spec) if self.single else ()
        return methods(self.model.spec) + more

    def views(self, image: Pixels) -> dict[str, View]:
        """Return every method's view of an image."""
        found = views(self.model.segment(image), self.model.spec)
        if self.single is not None:
            found |= views(self.single.segment(image), self.single.spec)
        return found


def check_job(job: Job) -> None:
    """Raise DataError when the truth has a class the model lacks, BundleError for --single."""
    name, known = job.model.identity.name, job.classes
    if job.dataset.classes > len(known):
        stem = next(s for s, found in job.dataset.present.items() if max(found) > len(known))
        raise DataError(
            f"{job.dataset.root} has masks of {job.dataset.classes} classes (the mask of {stem} is "
            f"one); {name} knows {len(known)}: {', '.join(known)}. Evaluate a model trained on them"
        )
    if job.single is None:
        return
    other, spec = job.single.identity.name, job.single.spec
    if spec.stage2 is not None:
        raise BundleError(
            f"--single {other} is a cascade; wanted a model trained with --stages single"
        )
    if job.model.spec.stage2 is None:
        raise BundleError(
            f"{name} is a single network itself; --single is what a cascade is compared with"
        )
    if spec.classes[1:] != known:
        raise BundleError(
            f"--single {other} has the classes {', '.join(spec.classes[1:])}; {name} has "
            f"{', '.join(known)}. Wanted the same"
        )


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
    """Every figure of a data set, images in order. ``groups`` names the group of each stem."""

    classes: tuple[str, ...]
    methods: tuple[str, ...]
    groups: dict[str, str]
    rows: list[ImageRow] = field(default_factory=list)
    objects: list[TruthObject] = field(default_factory=list)
    reliability: dict[str, Reliability] = field(default_factory=dict)

    @property
    def stems(self) -> tuple[str, ...]:
        return tuple(self.groups)


def evaluate(job: Job, progress: Callable[[str, int, int], None]) -> Evaluation:
    """Return the figures of every image of the job's data set."""
    check_job(job)
    dataset = job.dataset
    groups = {stem: dataset.groups.get(stem, stem) for stem in dataset.stems}
    found = Evaluation(job.classes, job.methods, groups)
    found.reliability = {method: Reliability() for method in job.methods}
    for number, stem in enumerate(dataset.stems):
        add_image(found, stem, job.views(dataset.image(stem)), dataset.mask(stem), job.tolerance)
        progress("evaluating", number + 1, len(dataset.stems))
    return found


def add_image(
    found: Evaluation, stem: str, seen: dict[str, View], truth: Mask, tolerance: float
) -> None:
    """Add one image's figures: ``seen`` holds a view of each method, ``truth`` is (H, W) classes.

    The calibration looks at the pixels inside the method's box only.
    """
    for label in range(1, len(found.classes) + 1):
        target = components(truth == label)
        for method, view in seen.items():
            mask = view.mask == label
            found.rows.append(_row(stem, label, method, view, truth, tolerance))
            found.objects += _objects(stem, label, method, target, mask)
    for method, view in seen.items():
        found.reliability[method].add(view.foreground[view.inside], truth[view.inside] > 0)


def _row(stem: str, label: int, method: str, view: View, truth: Mask, tolerance: float) -> ImageRow:
    mask, target = view.mask == label, truth == label
    count = int(np.count_nonzero(target))
    outside = int(np.count_nonzero(target & ~view.inside))
    return ImageRow(
        stem=stem,
        label=label,
        method=method,
        metrics=measure(mask, target, tolerance),
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


@dataclass(frozen=True)
class CoarseMiss:
    """Truth outside the boxes of stage 2.

    ``pooled`` is the share of all truth pixels of all images, ``losing`` the number of images that
    lose more than 2% of their truth, of ``images`` that have any truth.
    """

    pooled: float
    losing: int
    images: int


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
