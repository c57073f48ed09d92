"""Choosing the probability above which a coarse cell belongs to the box, for recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.geometry import find_box
from foveate.train.views import Box, WholeView

THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
AREA_PRICE = 0.1
"""What a larger box costs: ten percent more of the image is worth one percent of missed truth."""


@dataclass(frozen=True)
class Candidate:
    """A threshold with the share of the truth outside its boxes and their share of the image."""

    threshold: float
    missed: float
    area: float

    @property
    def cost(self) -> float:
        return self.missed + AREA_PRICE * self.area

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def box_of(coarse: Tensor, view: WholeView, region: Region, size: Size) -> Box:
    """Return the xyxy box in image pixels for stage 1's (h1, w1) foreground probability."""
    box = find_box(coarse[None], view.height, view.width, region, size)[0].tolist()
    return box[0], box[1], box[2], box[3]


def measure_thresholds(
    coarse: Mapping[str, Tensor], views: Mapping[str, WholeView], region: Region, size: Size
) -> list[Candidate]:
    """Return every threshold with what it misses, truth pixels pooled over the images."""
    found = []
    for threshold in THRESHOLDS:
        trial = replace(region, threshold=threshold)
        rows = [
            _missed(views[stem], box_of(probability, views[stem], trial, size))
            for stem, probability in coarse.items()
        ]
        truth = sum(row[1] for row in rows)
        missed = max(0.0, sum(row[0] for row in rows)) / max(truth, 1.0)
        found.append(Candidate(threshold, missed, sum(row[2] for row in rows) / len(rows)))
    return found


def _missed(view: WholeView, box: Box) -> tuple[float, float, float]:
    """Return truth pixels outside the box, truth pixels, and the box's share of the image."""
    foreground = view.target().sum(axis=0)
    rows, columns = foreground.shape
    x0, x1 = (round(value * columns / view.width) for value in (box[0], box[2]))
    y0, y1 = (round(value * rows / view.height) for value in (box[1], box[3]))
    pixels = view.height * view.width / foreground.size
    inside = float(foreground[y0:y1, x0:x1].sum())
    truth = float(foreground.sum())
    area = (box[2] - box[0]) * (box[3] - box[1]) / (view.height * view.width)
    return (truth - inside) * pixels, truth * pixels, area
