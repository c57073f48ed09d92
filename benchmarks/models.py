"""What can be evaluated: a run or a bundle, and the methods each of them offers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveate.runtime.bundle import MANIFEST, file_sha256
from foveate.runtime.cascade import Cascade, Result
from foveate.runtime.engines.base import Pixels
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.geometry import paste_weights
from foveate.runtime.spec import CascadeSpec

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
STAGE1, CASCADE, SINGLE = "stage 1", "cascade", "single"
RUN_FILE = "run.json"


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
        self.cascade = Cascade.load(path)
        self.spec = self.cascade.spec
        engine = f"onnxruntime {version('onnxruntime')} fp32"
        name = path.resolve().name
        self.identity = Identity(name, "bundle", file_sha256(path / MANIFEST), engine)

    def segment(self, image: Pixels) -> Result:
        return self.cascade(image, probabilities=True)


def open_model(path: Path) -> Model:
    """Return the model of a run or a bundle; EngineError when a run lacks its torch."""
    if (path / MANIFEST).exists():
        return BundleModel(path)
    if not (path / RUN_FILE).exists():
        raise BundleError(f"{path}: neither a bundle (manifest.json) nor a run (run.json)")
    try:
        from foveate.benchmarks.torch_model import TorchModel
    except ImportError as error:
        raise EngineError(
            f"{path} is a run, and evaluating it needs {error.name}: pip install "
            "'foveate[train]', or evaluate the bundle exported from it"
        ) from None
    return TorchModel(path)


def methods(spec: CascadeSpec) -> tuple[str, ...]:
    """Return what a model offers: stage 1 alone and the cascade, or the single network."""
    return (SINGLE,) if spec.stage2 is None else (STAGE1, CASCADE)


@dataclass(frozen=True)
class View:
    """One image by one method, at the image's own size.

    ``mask`` is (H, W) uint8 class indices, ``foreground`` (H, W) float32 the probability of any
    class but background, ``inside`` (H, W) bool where the method looked.
    """

    mask: Mask
    foreground: FloatArray
    inside: npt.NDArray[np.bool_]


def views(result: Result, spec: CascadeSpec) -> dict[str, View]:
    """Return each method's view of an image; stage 1 is enlarged as the cascade pastes."""
    assert result.coarse is not None and result.refined is not None
    shape = result.mask.shape
    whole = np.array([[0, 0, shape[1], shape[0]]], np.float32)
    coarse = enlarge(result.coarse[None], whole, shape)
    everywhere = np.ones(shape, bool)
    if spec.stage2 is None:
        return {SINGLE: View(result.mask, foreground(coarse, spec), everywhere)}
    inside = np.zeros(shape, bool)
    for x0, y0, x1, y1 in result.box_xyxy.astype(int):
        inside[y0:y1, x0:x1] = True
    regions = result.refined.reshape(-1, spec.channels, *result.refined.shape[1:])
    refined = foreground(enlarge(regions, result.box_xyxy, shape), spec)
    return {
        STAGE1: View(decide(coarse, spec), foreground(coarse, spec), everywhere),
        CASCADE: View(result.mask, np.where(inside, refined, np.float32(0)), inside),
    }


def enlarge(probability: FloatArray, boxes_xyxy: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return (C, H, W) float32 from (R, C, h, w) probabilities pasted on their R boxes.

    Boxes are in pixels of the (H, W) image, end exclusive. Outside them all is 0; where boxes
    overlap the greatest value stands.
    """
    full = np.zeros((probability.shape[1], *shape), np.float32)
    for region, (x0, y0, x1, y1) in zip(probability, boxes_xyxy, strict=True):
        rows = paste_weights(y0, y1, shape[0], region.shape[1])
        columns = paste_weights(x0, x1, shape[1], region.shape[2])
        np.maximum(full, rows @ region @ columns.T, out=full)
    return full


def decide(probability: FloatArray, spec: CascadeSpec) -> Mask:
    """Return (H, W) uint8 class indices of (C, H, W) probabilities."""
    if spec.binary:
        return np.asarray(probability[0] > spec.mask_threshold, np.uint8)
    return np.asarray(probability.argmax(axis=0), np.uint8)


def foreground(probability: FloatArray, spec: CascadeSpec) -> FloatArray:
    """Return (H, W) float32, the probability of any class but background, in [0, 1]."""
    value = probability[0] if spec.binary else 1 - probability[0]
    return np.asarray(np.clip(value, 0, 1), np.float32)
