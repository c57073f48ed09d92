"""Where labels go beside points, so that none hides another or a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
RADII = tuple(range(14, 400, 18))
ANGLES = (90, 270, 0, 180, 45, 135, 315, 225, 65, 115, 245, 295)
"""Tried in this order, in degrees anticlockwise from the right, at each radius."""
OUTSIDE = 20.0
"""How much worse a pixel outside the frame is than one that is hidden."""


@dataclass(frozen=True)
class Box:
    """Sides of a rectangle, in pixels from the lower left."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)

    def common(self, other: Box) -> Box:
        """Return the part in common, of no area when there is none."""
        return Box(
            max(self.x0, other.x0), max(self.y0, other.y0),
            min(self.x1, other.x1), min(self.y1, other.y1),
        )  # fmt: skip


def places(points: Sequence[Point], sizes: Sequence[Point], frame: Box, marker: float) -> list[Box]:
    """Return a box of each size near its point, inside the frame where there is room.

    ``marker`` is the half side of what is drawn at a point. The nearest place that hides nothing
    is taken, else the one that hides least. The points in the thick of it choose last.
    """
    drawn = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points]
    found: dict[int, Box] = {}
    middle = sum(x for x, _ in points) / max(1, len(points))
    for index in sorted(range(len(points)), key=lambda i: -abs(points[i][0] - middle)):
        taken = [*drawn, *found.values()]
        found[index] = min(
            _around(points[index], sizes[index]), key=lambda box: _cost(box, taken, frame)
        )
    return [found[index] for index in range(len(points))]


def _around(point: Point, size: Point) -> Iterator[Box]:
    """Yield the boxes about a point, nearest first, each touching the circle from outside."""
    for radius in RADII:
        for angle in ANGLES:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = point[0] + radius * across + size[0] / 2 * round(across, 6)
            y = point[1] + radius * up + size[1] / 2 * round(up, 6)
            yield Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    hidden = sum(box.common(other).area for other in taken)
    return hidden + OUTSIDE * (box.area - box.common(frame).area)
