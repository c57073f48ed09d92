"""Choose box and mask threshold by the Dice that they give on validation images.

The box that stage 2 was trained in is chosen before, by what it misses (``boxes``). With stage 2
trained, the other ways to draw it are run, and so are thresholds of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveate.runtime.spec import CascadeSpec
from foveate.train.calibration.boxes import Candidate, box_of
from foveate.train.calibration.choosing import Choosing, Chosen
from foveate.train.calibration.image_dice import class_dice, mean_dice_of
from foveate.train.data.full_images import FullImages
from foveate.train.data.views import Box, RegionCrops
from foveate.train.reference.cascade import TorchCascade
from foveate.train.reference.geometry import paste_box

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
    """A way to decide and the mean Dice it gives, over images and classes, at the image's size.

    ``images`` is the number of images.
    """

    threshold: float
    margin: float
    opening: int
    min_height: int
    min_width: int
    mask_threshold: float
    dice: float
    images: int = 0

    def applied(self, spec: CascadeSpec) -> CascadeSpec:
        """Return the cascade that decides so."""
        region = asdict(self)
        del region["dice"], region["mask_threshold"], region["images"]
        return replace(_with(spec, **region), mask_threshold=self.mask_threshold)


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


def measure_boxes_by_dice(
    cascade: TorchCascade,
    crops: RegionCrops,
    stems: Sequence[str],
    boxes: Sequence[Candidate],
    choosing: Choosing = Choosing(),  # noqa: B008
) -> list[Decision]:
    """Return what was tried of box and mask threshold, the cascade as it is first.

    ``crops`` has the images and stage 1's answers on them.
    """
    ways = front(boxes)
    judge = _BoxJudge(cascade, crops, some(stems), choosing, 1 + len(ways) + len(SIDES))
    table = judge.run(cascade.spec)
    for row in ways:
        table += judge.run(
            _with(cascade.spec, threshold=row.threshold, margin=row.margin, opening=row.opening)
        )
    best = best_decision(table).applied(cascade.spec)
    for side in SIDES:
        height, width = round(side * crops.size.height), round(side * crops.size.width)
        table += judge.run(_with(best, min_height=height, min_width=width))
    return list(dict.fromkeys(table))


def measure_thresholds(
    cascade: TorchCascade,
    full: FullImages,
    stems: Sequence[str],
    choosing: Choosing = Choosing(),  # noqa: B008
) -> list[Decision]:
    """Return the thresholds of a one-stage network's mask, the network as it is first."""
    spec, rows, chosen = cascade.spec, [], some(stems)
    for number, stem in enumerate(chosen, 1):
        image, truth = full.get(stem)
        found = cascade.run(image)
        probability = paste_box(found.refined, found.box[:, 0], *truth.shape)
        rows.append(
            [class_dice(mask, truth, len(spec.classes) - 1) for mask in _masks(spec, probability)]
        )
        choosing.show(number, len(chosen))
        if choosing.ends_after(number):
            break
    return _decisions(spec, rows)


def some(stems: Sequence[str]) -> list[str]:
    """Return at most ``MEASURED`` stems, spread over all."""
    return list(stems)[:: max(1, -(-len(stems) // MEASURED))]


def thresholds(spec: CascadeSpec) -> tuple[float, ...]:
    """Return the mask thresholds to try; several classes have none."""
    return MASK_THRESHOLDS if spec.binary else (spec.mask_threshold,)


def _with(spec: CascadeSpec, **region: Any) -> CascadeSpec:
    return replace(spec, region=replace(spec.region, **region))


def _masks(spec: CascadeSpec, probability: Tensor) -> list[Any]:
    """Return the (H, W) mask that each threshold makes of (1, C, H, W) probabilities."""
    trials = [replace(spec, mask_threshold=value) for value in thresholds(spec)]
    cascades = [TorchCascade(trial, torch.nn.Identity(), None) for trial in trials]
    return [cascade.decide(probability)[0].numpy() for cascade in cascades]


def _decisions(spec: CascadeSpec, rows: Sequence[Sequence[list[float]]]) -> list[Decision]:
    """Return a row for each threshold, of the class Dice of every image and threshold."""
    at = spec.region
    box = at.threshold, at.margin, at.opening, at.min_height, at.min_width
    return [
        Decision(*box, value, mean_dice_of([row[index] for row in rows]), len(rows))
        for index, value in enumerate(thresholds(spec))
    ]


class _BoxJudge:
    """Runs stage 2 in the boxes that ways to draw them give; equal boxes are run once.

    When the time is up no further way is run, and the first one on fewer images.
    """

    def __init__(
        self,
        cascade: TorchCascade,
        crops: RegionCrops,
        stems: Sequence[str],
        choosing: Choosing,
        ways: int,
    ) -> None:
        self.cascade, self.crops, self.stems = cascade, crops, stems
        self.choosing, self.ways, self.tried = choosing, ways, 0
        self.known: dict[tuple[str, Box], list[list[float]]] = {}

    def run(self, spec: CascadeSpec) -> list[Decision]:
        """Return one row for each mask threshold; none when the time is up."""
        if self.tried and self.choosing.is_over:
            return []
        rows: list[list[list[float]]] = []
        for stem in self.stems:
            coarse = torch.from_numpy(self.crops.regions.foreground[stem][0].astype(np.float32))
            box = box_of(coarse, self.crops.source.views[stem], spec.region, self.crops.size)
            if (stem, box) not in self.known:
                self.known[stem, box] = self._dice(stem, box)
            rows.append(self.known[stem, box])
            done = self.tried * len(self.stems) + len(rows)
            self.choosing.show(done, self.ways * len(self.stems))
            if not self.tried and self.choosing.ends_after(len(rows)):
                break
        self.stems = self.stems[: len(rows)]
        self.tried += 1
        return _decisions(spec, rows)

    def _dice(self, stem: str, box: Box) -> list[list[float]]:
        """Return the class Dice for each threshold, in the whole image: empty outside the box."""
        cascade, truth = self.cascade, self.crops.source.full.get(stem)[1]
        assert cascade.stage2 is not None
        inputs, _ = self.crops.tensors(stem, *self.crops.region(stem, box))
        x0, y0, x1, y1 = map(int, box)
        with torch.inference_mode():
            refined = cascade.probabilities(cascade.stage2(inputs[None]))
            inner = torch.tensor([[0.0, 0.0, float(x1 - x0), float(y1 - y0)]])
            probability = paste_box(refined, inner, y1 - y0, x1 - x0)
        classes = len(cascade.spec.classes) - 1
        return [
            class_dice(mask, truth, classes, (slice(y0, y1), slice(x0, x1)))
            for mask in _masks(cascade.spec, probability)
        ]


def choose_decision(
    cascade: TorchCascade,
    crops: RegionCrops,
    validation: Sequence[str],
    boxes: Sequence[Candidate],
    choosing: Choosing,
) -> Chosen:
    """Choose box and mask threshold by the Dice that they give on validation images."""
    choosing.log("Choosing box and thresholds by validation Dice.")
    table = measure_boxes_by_dice(cascade, crops, validation, boxes, choosing)
    return _chosen(cascade.spec, table, validation, choosing)


def choose_threshold(
    cascade: TorchCascade, full: FullImages, validation: Sequence[str], choosing: Choosing
) -> Chosen:
    """Choose the mask threshold of a one-stage network by its Dice on validation images."""
    choosing.log("Choosing the mask threshold by validation Dice.")
    table = measure_thresholds(cascade, full, validation, choosing)
    return _chosen(cascade.spec, table, validation, choosing)


def _chosen(
    spec: CascadeSpec, table: Sequence[Decision], validation: Sequence[str], choosing: Choosing
) -> Chosen:
    best = best_decision(table)
    box = (
        f"box by coarse threshold {best.threshold} and margin {best.margin}, at least "
        f"{best.min_height} x {best.min_width} pixels, "
    )
    choosing.log(
        f"Dice {best.dice:.4f} on {best.images} of {len(validation)} validation images at their "
        f"own size ({table[0].dice:.4f} before): {box if spec.stage2 else ''}mask threshold "
        f"{best.mask_threshold}."
    )
    return best.applied(spec), [asdict(row) for row in table]
