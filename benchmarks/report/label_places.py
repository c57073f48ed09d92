"""Where labels go beside points, so that none hides another or a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
Boxes = npt.NDArray[np.float64]
RADII = tuple(range(14, 300, 18))
ANGLES = (90, 270, 0, 180, 45, 135, 315, 225, 65, 115, 245, 295)
"""Tried in this order, in degrees anticlockwise from the right, at each radius."""
OUTSIDE = 20.0
"""How much worse a pixel outside the frame is than one that is hidden."""
CROSSING = 30.0
"""What a line costs for each step of it that lies on another label, point or line."""
STEP = 8.0
TURNS = 3


@dataclass(frozen=True)
class Box:
    """Sides of a rectangle, in pixels from the lower left."""

    x0: float
    y0: float
    x1: float
    y1: float


def places(points: Sequence[Point], sizes: Sequence[Point], frame: Box, marker: float) -> list[Box]:
    """Return a box of each size near its point, inside the frame where there is room.

    ``marker`` is the half side of what is drawn at a point. The nearest place is taken that hides
    nothing and whose line to its point crosses nothing, else the one that does least of it. The
    labels choose by turns, the outermost first, and again when all others have chosen.
    """
    drawn = [_square(point, marker) for point in points]
    middle = sum(x for x, _ in points) / max(1, len(points))
    order = sorted(range(len(points)), key=lambda index: -abs(points[index][0] - middle))
    found: dict[int, Box] = {}
    for index in order * TURNS:
        others = [box for i, box in enumerate(drawn) if i != index]
        for other, box in found.items():
            if other != index:
                others += [box, *_line(box, points[other], marker)]
        found[index] = _best(points[index], sizes[index], [drawn[index], *others], frame)
    return [found[index] for index in range(len(points))]


def nearest(box: Box, point: Point) -> Point:
    """Return the point of a box that is nearest to a point."""
    return min(max(point[0], box.x0), box.x1), min(max(point[1], box.y0), box.y1)


def common_areas(boxes: Boxes, others: Boxes) -> Boxes:
    """Return (N, M): the area that each of N boxes has in common with each of M; (N, 4), (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2), np.float64)


def as_array(boxes: Sequence[Box]) -> Boxes:
    """Return (N, 4): x0, y0, x1, y1."""
    return np.array([astuple(box) for box in boxes], np.float64).reshape(-1, 4)


def _best(point: Point, size: Point, taken: Sequence[Box], frame: Box) -> Box:
    """Return the first place that costs nothing, else the cheapest; ``taken[0]`` is the point's."""
    candidates = list(_around(point, size))
    boxes, others = as_array(candidates), as_array(taken)
    outside = size[0] * size[1] - common_areas(boxes, as_array([frame]))[:, 0]
    costs = common_areas(boxes, others).sum(axis=1) + OUTSIDE * np.clip(outside, 0, None)
    for number, box in enumerate(candidates):
        line = as_array(_line(box, point, 0.0))
        costs[number] += CROSSING * np.count_nonzero(common_areas(line, others[1:]))
        if costs[number] < 1e-6:
            return box
    return candidates[int(np.argmin(costs))]


def _around(point: Point, size: Point) -> Iterator[Box]:
    """Yield the boxes about a point, nearest first, each touching the circle from outside."""
    for radius in RADII:
        for angle in ANGLES:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = point[0] + (radius + size[0] / 2) * across
            y = point[1] + (radius + size[1] / 2) * up
            yield Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


def _line(box: Box, point: Point, skip: float) -> list[Box]:
    """Return the line from a label to its point as small boxes, without the part on the point."""
    end = nearest(box, point)
    length = math.dist(end, point)
    steps = [skip + STEP * number for number in range(int(max(0.0, length - skip) / STEP) + 1)]
    shares = [at / length for at in steps if at < length]
    return [
        _square((point[0] + (end[0] - point[0]) * t, point[1] + (end[1] - point[1]) * t), STEP / 2)
        for t in shares
    ]


def _square(centre: Point, half: float) -> Box:
    return Box(centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
