"""What can be evaluated: a run or a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec


@dataclass(frozen=True)
class Identity:
    """Which model it is: its folder's name, run or bundle, the sha256 of its JSON, its engine."""

    name: str
    form: str
    sha256: str
    engine: str


class Model(Protocol):
    """A run or a bundle, ready to segment. ``validation`` is empty when it names no stems."""

    spec: CascadeSpec
    identity: Identity
    validation: tuple[str, ...]

    def segment(self, image: Pixels) -> Result:
        """Return mask, box and both probabilities of one (H, W) uint8 or uint16 image."""


class BundleModel:
    """A bundle in ONNX Runtime."""

    validation: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.cascade = Cascade.load(path, engine="onnxruntime")
        self.spec = self.cascade.spec
        engine = f"onnxruntime {import_module('onnxruntime').__version__} fp32"
        name = path.resolve().name
        self.identity = Identity(name, "bundle", self.cascade.bundle.content_sha256, engine)

    def segment(self, image: Pixels) -> Result:
        return self.cascade(image, probabilities=True)
