"""Choose how the box is drawn around stage 1's answer, for recall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.data.views import Box, FloatArray, WholeView
from foveate.train.reference.geometry import box_around, find_box, mark, opened

THRESHOLDS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03)
MARGINS = (0.05, 0.1, 0.15, 0.25)
OPENINGS = (2, 3, 5, 9)
AREA_PRICE = 0.1
"""What a larger box costs: ten percent more of the image is worth one percent of missed truth."""
NEAR = 0.002
"""Costs this near are one: few validation images cannot tell them apart, and the safer is taken."""


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


def box_of(coarse: Tensor, view: WholeView, region: Region, size: Size) -> Box:
    """Return the xyxy box in image pixels for stage 1's (h1, w1) foreground probability."""
    return _xyxy(find_box(coarse[None], view.height, view.width, region, size))


def measure_boxes(
    coarse: Mapping[str, Tensor],
    views: Mapping[str, WholeView],
    region: Region,
    size: Size,
    margins: Sequence[float] = MARGINS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Candidate]:
    """Return every way to draw the box with what it misses, truth pooled over the images."""
    rows: dict[Region, list[tuple[float, float, float]]] = {}
    for number, (stem, foreground) in enumerate(coarse.items(), 1):
        view, coarse_map = views[stem], foreground[None]
        truth = view.target().sum(axis=0)
        for opening in OPENINGS:
            plane = opened(coarse_map, opening)
            for threshold in THRESHOLDS:
                marked = mark(coarse_map, plane, threshold)
                for margin in margins:
                    trial = replace(region, threshold=threshold, margin=margin, opening=opening)
                    box = _xyxy(box_around(marked, view.height, view.width, trial, size))
                    rows.setdefault(trial, []).append(_missed(view, truth, box))
        progress(number, len(coarse))
    return [_candidate(trial, found) for trial, found in rows.items()]


def _candidate(trial: Region, rows: Sequence[tuple[float, float, float]]) -> Candidate:
    truth = sum(row[1] for row in rows)
    missed = max(0.0, sum(row[0] for row in rows)) / max(truth, 1.0)
    area = sum(row[2] for row in rows) / len(rows)
    return Candidate(trial.threshold, trial.margin, trial.opening, missed, area)


def _xyxy(boxes: Tensor) -> Box:
    x0, y0, x1, y1 = boxes[0].tolist()
    return x0, y0, x1, y1


def choose_box(table: Sequence[Candidate]) -> Candidate:
    """Return the safest of the cheapest: least truth missed, then lowest threshold."""
    least = min(candidate.cost for candidate in table)
    near = [candidate for candidate in table if candidate.cost <= least + NEAR]
    return min(near, key=lambda row: (row.missed, row.threshold, -row.margin, row.opening))


def _missed(view: WholeView, foreground: FloatArray, box: Box) -> tuple[float, float, float]:
    """Return truth pixels outside the box, truth pixels, and the box's share of the image.

    ``foreground`` is (h1, w1), the share of each cell of the view that the truth covers.
    """
    rows, columns = foreground.shape
    x0, x1 = (round(value * columns / view.width) for value in (box[0], box[2]))
    y0, y1 = (round(value * rows / view.height) for value in (box[1], box[3]))
    pixels = view.height * view.width / foreground.size
    inside = float(foreground[y0:y1, x0:x1].sum())
    truth = float(foreground.sum())
    area = (box[2] - box[0]) * (box[3] - box[1]) / (view.height * view.width)
    return (truth - inside) * pixels, truth * pixels, area
