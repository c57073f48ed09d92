"""What is evaluated: a run or a bundle, alone or next to a single network, on a data set."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from foveate.benchmarks.evaluation.views import View, methods, views
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decide import decide
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import BundleError, DataError, SettingsError
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec
from foveate.train.data.dataset import DataSet
from foveate.train.settings.mask_rules import MaskRules


@dataclass(frozen=True)
class Identity:
    """Which model it is: its folder's name, run or bundle, the sha256 of its JSON, its engine."""

    name: str
    form: str
    sha256: str
    engine: str


class Model(Protocol):
    """A run or a bundle, ready to segment.

    ``training`` and ``validation`` are empty when it names no stems; ``masks`` is how its training
    read masks.
    """

    spec: CascadeSpec
    identity: Identity
    training: tuple[str, ...]
    validation: tuple[str, ...]
    masks: MaskRules

    def segment(self, image: Pixels) -> Result:
        """Return mask, box and both probabilities of one image, uint8 or uint16."""


class BundleModel:
    """A bundle in ONNX Runtime."""

    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.cascade = Cascade.load(path, engine="onnxruntime")
        self.spec = self.cascade.spec
        self.masks = MaskRules.of_manifest(self.cascade.bundle.manifest)
        engine = f"onnxruntime {import_module('onnxruntime').__version__} fp32"
        name = path.resolve().name
        self.identity = Identity(name, "bundle", self.cascade.bundle.content_sha256, engine)

    def segment(self, image: Pixels) -> Result:
        return self.cascade(image, probabilities=True)


@dataclass(frozen=True)
class EvaluationJob:
    """A model, the data set to evaluate it on, and a single network to compare it with.

    ``tolerance`` is that of the surface Dice, in pixels. ``pixel_size`` is that of all images, None
    for what each file states. ``decision`` is that of the masks of model and single network;
    stage 1 alone is decided as it was trained. ``sweep``: measure many thresholds of the model.
    """

    model: Model
    dataset: DataSet
    single: Model | None = None
    tolerance: float = 2.0
    pixel_size: PixelSize | None = None
    decision: Decision = Decision()
    sweep: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The foreground classes' names, label 1 first."""
        return self.model.spec.classes[1:]

    @property
    def methods(self) -> tuple[str, ...]:
        more = methods(self.single.spec) if self.single else ()
        return methods(self.model.spec) + more

    def size_of(self, stem: str) -> PixelSize | None:
        """Return the size of an image's pixels, None where it is not known."""
        return self.pixel_size or self.dataset.contents[stem].pixel_size

    def views(self, stem: str, image: Pixels, result: Result) -> dict[str, View]:
        """Return every method's view of an image; ``result`` is the model's own of it."""
        models, size = [(result, self.model.spec)], self.size_of(stem)
        if self.single is not None:
            models.append((self.single.segment(image), self.single.spec))
        seen: dict[str, View] = {}
        for found, spec in models:
            seen |= views(decide(found, spec, self.decision, size), spec)
        return seen


def check_job(job: EvaluationJob) -> None:
    """Raise DataError when the truth has a class the model lacks, BundleError for --single.

    SettingsError for a decision that an image or the classes do not allow.
    """
    name, known = job.model.identity.name, job.classes
    job.decision.check(job.model.spec)
    measure, contents = job.decision.physical, job.dataset.contents
    unsized = [stem for stem in job.dataset.stems if measure and job.size_of(stem) is None]
    if measure and unsized:
        raise SettingsError(
            f"{measure.name} is {measure}, and {len(unsized)} images state no pixel size, the "
            f"first {unsized[0]}; give --pixel-size, or {measure.name} in pixels"
        )
    if job.dataset.classes > len(known):
        stem = next(s for s, found in contents.items() if max(found.areas, default=0) > len(known))
        raise DataError(
            f"{job.dataset.root} has masks of {job.dataset.classes} classes (the mask of {stem} is "
            f"one); {name} knows {len(known)}: {', '.join(known)}. Evaluate a model trained on "
            "them, or say what masks hold (--mask-values, --mask-instances)"
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
            f"{', '.join(known)}. Expected the same"
        )
