"""How the cascade decides - box and mask threshold - by the Dice it gives on validation images.

The box that stage 2 was trained in is chosen before, by what it misses (``train.boxes``). With
stage 2 trained, the other ways to draw it are run for real, and so are thresholds of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveate.runtime.engines.base import Pixels
from foveate.runtime.input_types import as_input_type
from foveate.runtime.spec import CascadeSpec
from foveate.train.boxes import Candidate
from foveate.train.cascade import TorchCascade
from foveate.train.full_images import FullImages
from foveate.train.geometry import paste_box
from foveate.train.image_dice import class_dice, mean_dice_of

SIDES = (0.75, 1.0, 1.5, 2.0)
"""Smallest boxes tried, in sides of stage 2's input: below 1 the image is enlarged."""
MASK_THRESHOLDS = (0.5, 0.4, 0.45, 0.55, 0.6, 0.35, 0.65, 0.3, 0.7)
MEASURED = 48
"""Validation images looked at, at most."""
BOXES = 12
"""Ways to draw the box that are run, at most."""
NEAR = 0.003
"""Nothing is changed for less Dice than this: few images cannot tell."""


@dataclass(frozen=True)
class Decision:
    """A way to decide and the mean Dice it gives, over images and classes, at the image's size."""

    threshold: float
    margin: float
    opening: int
    min_height: int
    min_width: int
    mask_threshold: float
    dice: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def applied(self, spec: CascadeSpec) -> CascadeSpec:
        """Return the cascade that decides so."""
        region = replace(
            spec.region,
            threshold=self.threshold,
            margin=self.margin,
            opening=self.opening,
            min_height=self.min_height,
            min_width=self.min_width,
        )
        return replace(spec, region=region, mask_threshold=self.mask_threshold)


def measure_decisions(
    cascade: TorchCascade, full: FullImages, stems: Sequence[str], boxes: Sequence[Candidate]
) -> list[Decision]:
    """Return what was tried, the cascade as it is first."""
    judge = _Judge(cascade, full, list(stems)[:: max(1, -(-len(stems) // MEASURED))])
    table = judge.run(cascade.spec)
    for row in front(boxes):
        table += judge.run(
            _with(cascade.spec, threshold=row.threshold, margin=row.margin, opening=row.opening)
        )
    best = best_decision(table).applied(cascade.spec)
    if size := cascade.spec.stage2:
        for side in SIDES:
            height, width = round(side * size.height), round(side * size.width)
            table += judge.run(_with(best, min_height=height, min_width=width))
    return list(dict.fromkeys(table))


def best_decision(table: Sequence[Decision]) -> Decision:
    """Return the first of the table, or what has clearly more Dice.

    Among those near the best the first comes first: of alike boxes the one trained in.
    """
    most = max(row.dice for row in table)
    return next(row for row in table if row.dice >= most - NEAR)


def front(boxes: Sequence[Candidate]) -> list[Candidate]:
    """Return boxes of which none misses more truth than a smaller one: at most ``BOXES``."""
    kept: list[Candidate] = []
    for row in sorted(boxes, key=lambda row: (row.area, row.missed)):
        if not kept or row.missed < kept[-1].missed - 1e-4:
            kept.append(row)
    step = max(1, -(-len(kept) // BOXES))
    return kept[::-1][::step]


def _with(spec: CascadeSpec, **region: Any) -> CascadeSpec:
    return replace(spec, region=replace(spec.region, **region))


class _Judge:
    """Runs a cascade's ways to decide on the same images."""

    def __init__(self, cascade: TorchCascade, full: FullImages, stems: Sequence[str]) -> None:
        self.cascade, self.full, self.stems = cascade, full, stems

    def run(self, spec: CascadeSpec) -> list[Decision]:
        """Return one row for each mask threshold; several classes have none."""
        thresholds = MASK_THRESHOLDS if spec.binary else (spec.mask_threshold,)
        scores: dict[float, list[list[float]]] = {value: [] for value in thresholds}
        for stem in self.stems:
            image, truth = self.full.get(stem)
            probability = self._probability(spec, as_input_type(image, spec.input_type))
            for value in thresholds:
                trial = replace(spec, mask_threshold=value)
                mask = TorchCascade(trial, self.cascade.stage1, None).decide(probability)
                scores[value].append(class_dice(mask[0].numpy(), truth, len(spec.classes) - 1))
        region = spec.region
        return [
            Decision(
                region.threshold, region.margin, region.opening, region.min_height,
                region.min_width, value, mean_dice_of(scores[value]),
            )
            for value in thresholds
        ]  # fmt: skip

    def _probability(self, spec: CascadeSpec, image: Pixels) -> Tensor:
        """Return (1, C, H, W) probabilities in the whole image; zero outside the box."""
        cascade = TorchCascade(spec, self.cascade.stage1, self.cascade.stage2).eval()
        with torch.inference_mode():
            found = cascade(torch.from_numpy(image.astype(np.float32))[None])
            return paste_box(found.refined, found.box[:, 0], *image.shape)
