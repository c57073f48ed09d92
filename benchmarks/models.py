"""What can be evaluated: anything that gives stage 1's mask, the cascade's mask and the box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveate.runtime.cascade import Cascade
from foveate.runtime.engines.base import Pixels
from foveate.runtime.geometry import paste_weights
from foveate.runtime.spec import CascadeSpec

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Segmented:
    """One image by one model: masks (H, W) of stage 1 alone and of the cascade, and its box."""

    coarse: Mask
    mask: Mask
    box_xyxy: FloatArray


class Model(Protocol):
    """A run or a bundle, ready to segment."""

    spec: CascadeSpec
    validation: tuple[str, ...]

    def segment(self, image: Pixels) -> Segmented: ...


class BundleModel:
    """A bundle in its engine."""

    validation: tuple[str, ...] = ()

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.spec = cascade.spec

    def segment(self, image: Pixels) -> Segmented:
        result = self.cascade(image, probabilities=True)
        assert result.coarse is not None
        height, width = image.shape
        return Segmented(
            coarse_mask(result.coarse, height, width, self.spec), result.mask, result.box_xyxy
        )


def coarse_mask(coarse: FloatArray, height: int, width: int, spec: CascadeSpec) -> Mask:
    """Return (H, W) classes from stage 1's (C, h1, w1) probabilities, enlarged by the paste."""
    rows = paste_weights(0, height, height, coarse.shape[1])
    columns = paste_weights(0, width, width, coarse.shape[2])
    full = np.asarray(rows @ coarse @ columns.T, np.float32)
    if spec.binary:
        return np.asarray(full[0] > spec.mask_threshold, np.uint8)
    return np.asarray(full.argmax(axis=0), np.uint8)
