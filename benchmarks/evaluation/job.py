"""What to evaluate on what, and whether the two fit each other."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.benchmarks.evaluation.models import Model
from foveate.benchmarks.evaluation.views import View, methods, views
from foveate.runtime.arrays import Pixels
from foveate.runtime.errors import BundleError, DataError
from foveate.train.data.dataset import DataSet


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
            f"--single {other} is a cascade; expected a model trained with --stages single"
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
