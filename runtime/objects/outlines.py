"""Trace objects along the edges of their pixels.

The pixel of row y and column x is the square from (x, y) to (x + 1, y + 1): corners are whole
numbers, and the pixels whose middles lie inside the rings are those of the object, exactly.
``cv2.findContours`` goes through the middles of border pixels: half a pixel is lost on every side,
and a single pixel is a point.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ring = list[tuple[int, int]]
"""The corners (x, y) of a closed line, the first not repeated."""
Ints = npt.NDArray[np.int64]
_NEARBY = 2000
"""Corners among which the nearest is looked for."""


def outlines(numbers: npt.NDArray[np.int32]) -> list[list[Ring]]:
    """Return the rings of every object: clockwise on the screen, and the other way around holes.

    ``numbers`` is (H, W) from 1 without a gap, 0 where there is no object. The first ring of an
    object is an outer one; each begins in its top left corner. Rings do not cross; they may touch
    themselves and others in a corner, where pixels are neighbours by their corners alone.
    """
    height, width = numbers.shape
    owner, y, x, east, south, concave = _corners(numbers)
    order = np.argsort(((owner * (height + 1) + y) * (width + 1) + x) * 2 + east)
    owner, y, x, south, concave = (values[order] for values in (owner, y, x, south, concave))
    # now 2i and 2i + 1 are the ends of a horizontal edge, and of this order of a vertical one
    order = np.argsort(((owner * (width + 1) + x) * (height + 1) + y) * 2 + south)
    vertical = np.empty_like(order)
    vertical[order[0::2]], vertical[order[1::2]] = order[1::2], order[0::2]
    return _followed(owner, list(zip(x.tolist(), y.tolist(), strict=True)), vertical, concave)


def _corners(numbers: npt.NDArray[np.int32]) -> tuple[Ints, ...]:
    """Return, for each corner of each object: owner, y, x, east, south, concave.

    ``east`` and ``south`` are 1 where its edges lead there, ``concave`` where three of the four
    pixels around it are the object's.
    """
    padded = np.pad(numbers, 1)
    around = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    straight = (around[0] == around[1]) & (around[2] == around[3])
    straight |= (around[0] == around[2]) & (around[1] == around[3])
    y, x = np.nonzero(~straight)
    pixels = [values[y, x] for values in around]
    found = []
    for place in range(4):
        own, next_to, over, across = (pixels[place ^ step] for step in range(4))
        convex = (own > 0) & (next_to != own) & (over != own)
        concave = (own > 0) & (next_to == own) & (over == own) & (across != own)
        for inward, here in enumerate((convex, concave)):
            columns = own[here], y[here], x[here], place & 1 ^ inward, place >> 1 ^ inward, inward
            found.append(np.stack(np.broadcast_arrays(*columns)))
    return tuple(np.concatenate(found, axis=1).astype(np.int64))


def _followed(owner: Ints, points: Ring, vertical: Ints, concave: Ints) -> list[list[Ring]]:
    """Return the rings of each object, by going alternately along horizontal and vertical edges.

    The corner that a ring is met at is its top left one: concave there if it surrounds a hole.
    """
    rings: list[list[Ring]] = [[] for _ in range(int(owner.max(initial=0)))]
    onward, seen = vertical.tolist(), bytearray(len(points))
    for start in range(0, len(points), 2):
        ring: Ring = []
        at = start
        while not seen[at]:
            seen[at] = seen[at ^ 1] = True
            ring += points[at], points[at ^ 1]
            at = onward[at ^ 1]
        if ring:
            rings[int(owner[start]) - 1].append(ring[:1] + ring[:0:-1] if concave[start] else ring)
    return rings


def joined(rings: list[Ring], inset: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the (N, 2) corners of one ring that encloses what several do.

    For formats whose polygons have neither holes nor parts: from a corner near by a cut leads to
    each further ring, and back. ``inset`` moves all edges into the object by so many pixels.
    """
    corners = np.array([corner for ring in rings for corner in ring])
    ends = np.cumsum([len(ring) for ring in rings]).tolist()
    cuts: dict[int, list[int]] = {}
    for number, start in enumerate(ends[:-1], 1):
        before = corners[max(0, start - _NEARBY) : start]
        near = start - len(before) + int(np.abs(before - corners[start]).sum(axis=1).argmin())
        cuts.setdefault(near, []).append(number)
    path: list[int] = []
    todo = [(0, ends[0])]
    while todo:
        at, end = todo.pop()
        path.append(at)
        if at + 1 < end:
            todo.append((at + 1, end))
        for number in cuts.pop(at, ()):
            start = ends[number - 1]
            todo += (at, at + 1), (start, start + 1), (start, ends[number])
    moved = corners + inset * np.concatenate([_inward(np.array(ring)) for ring in rings])
    return np.asarray(moved[path])


def _inward(ring: Ints) -> Ints:
    """Return for each corner of a ring the sum of the two edges' unit vectors into the object."""
    edges = np.sign(np.roll(ring, -1, axis=0) - ring)  # the object is to the right of each
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
    return np.asarray(normals + np.roll(normals, 1, axis=0))
