"""Choosing how the box is drawn round stage 1's answer, on validation images, for recall."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.geometry import find_box
from foveate.train.views import Box, WholeView

THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
MARGINS = (0.05, 0.1, 0.15, 0.25)
OPENINGS = (2, 3, 5, 9)
AREA_PRICE = 0.1
"""What a larger box costs: ten percent more of the image is worth one percent of missed truth."""


@dataclass(frozen=True)
class Candidate:
    """A way to draw the box, the share of the truth outside, and its share of the image."""

    threshold: float
    margin: float
    opening: int
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


def measure_boxes(
    coarse: Mapping[str, Tensor],
    views: Mapping[str, WholeView],
    region: Region,
    size: Size,
    margins: Sequence[float] = MARGINS,
) -> list[Candidate]:
    """Return every way to draw the box with what it misses, truth pooled over the images."""
    found = []
    for threshold, margin, opening in itertools.product(THRESHOLDS, margins, OPENINGS):
        trial = replace(region, threshold=threshold, margin=margin, opening=opening)
        rows = [
            _missed(views[stem], box_of(probability, views[stem], trial, size))
            for stem, probability in coarse.items()
        ]
        truth = sum(row[1] for row in rows)
        missed = max(0.0, sum(row[0] for row in rows)) / max(truth, 1.0)
        area = sum(row[2] for row in rows) / len(rows)
        found.append(Candidate(threshold, margin, opening, missed, area))
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
