"""Convex hulls of all objects at once: their area in pixels, and the greatest Feret diameter.

A pixel stands for the middles of its four sides, as in scikit-image. Coordinates are doubled, so
they are whole numbers and everything here but the diameter is exact. A hull is a left and a right
chain of points; the right one is kept mirrored, so that both are left chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveate.runtime.objects.runs import Floats, Ints, Runs


@dataclass(frozen=True)
class Lines:
    """The leftmost and rightmost pixel of every line of every object, sorted by object and line.

    ``first`` (N,) is the first line of each object, which has no line without a pixel.
    """

    owner: Ints
    y: Ints
    left: Ints
    right: Ints
    first: Ints

    @classmethod
    def of(cls, runs: Runs) -> Lines:
        """Return the lines of the objects that consist of ``runs``."""
        new = np.ones(len(runs.owner), bool)
        new[1:] = (np.diff(runs.owner) != 0) | (np.diff(runs.y) != 0)
        begin = np.flatnonzero(new)
        end = np.append(begin[1:], len(new)) - 1
        owner = runs.owner[begin]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        return cls(owner, runs.y[begin], runs.left[begin], runs.right[end], first)

    def filled(self) -> Lines:
        """Return the lines of the hulls: of the pixels whose middles lie in them, or on them."""
        left = _hull_columns(self, self.left)
        right = -_hull_columns(self, -self.right)
        return Lines(self.owner, self.y, left, right, self.first)

    def areas(self) -> Ints:
        """Return the pixels from the left to the right of every line, for each object."""
        return np.asarray(np.add.reduceat(self.right - self.left + 1, self.first))


@dataclass(frozen=True)
class _Chain:
    """The corners of left chains, sorted by object and line, in doubled coordinates.

    ``place`` numbers the half lines of all objects; those of a pixel's middle are odd in each.
    """

    owner: Ints
    place: Ints
    x: Ints
    y: Ints


def _chain(lines: Lines, columns: Ints) -> _Chain:
    """Return the left chain around pixels, the one in ``columns`` of each line."""
    middle = _middles(lines)
    x = np.full(middle[-1] + 2, np.iinfo(np.int64).max)
    x[middle - 1] = 2 * columns
    x[middle + 1] = np.minimum(x[middle + 1], 2 * columns)
    x[middle] = 2 * columns - 1
    owner, y = np.empty_like(x), np.empty_like(x)
    for step in (-1, 1, 0):
        owner[middle + step] = lines.owner
        y[middle + step] = 2 * lines.y + step
    place = np.arange(len(x))
    while True:
        # a corner is left of the line from the point above it to the one below
        across, down = np.diff(x), np.diff(y)
        corner = np.ones(len(x), bool)
        corner[1:-1] = across[:-1] * down[1:] < across[1:] * down[:-1]
        corner[1:-1] |= owner[2:] != owner[:-2]
        kept = np.flatnonzero(corner)
        if len(kept) == len(x):
            return _Chain(owner, place, x, y)
        owner, place, x, y = (values[kept] for values in (owner, place, x, y))


def _middles(lines: Lines) -> Ints:
    """Return the place of every line in a chain, which has a half line more above each object."""
    return 2 * np.arange(len(lines.owner)) + lines.owner + 1


def _hull_columns(lines: Lines, columns: Ints) -> Ints:
    """Return the first column in every line that lies in the hull of those pixels."""
    chain, middle = _chain(lines, columns), _middles(lines)
    corners = np.zeros(middle[-1] + 2, np.int64)
    corners[chain.place] = 1
    above = np.cumsum(corners)[middle] - 1
    below = above + 1
    height = chain.y[below] - chain.y[above]
    rise = (2 * lines.y - chain.y[above]) * (chain.x[below] - chain.x[above])
    return np.asarray(-(-(chain.x[above] * height + rise) // (2 * height)))


def feret_diameters(lines: Lines, width: float = 1.0, height: float = 1.0) -> Floats:
    """Return the greatest distance between two points of each object; a pixel's sides are given.

    One of the two is a corner of the left chain, the other of the right.
    """
    left, right = _chain(lines, lines.left), _chain(lines, -lines.right)
    count = np.bincount(right.owner)
    first = np.cumsum(count) - count
    longest = np.zeros(len(left.owner))
    x, y, other = left.x * (width / 2), left.y * (height / 2), first[left.owner]
    at, count = np.arange(len(x)), count[left.owner]
    for step in range(count.max()):
        at = at[count[at] > step]
        to = other[at] + step
        across = x[at] + right.x[to] * (width / 2)  # right.x is mirrored
        down = y[at] - right.y[to] * (height / 2)
        longest[at] = np.maximum(longest[at], across * across + down * down)
    begin = np.flatnonzero(np.diff(left.owner, prepend=-1))
    return np.sqrt(np.maximum.reduceat(longest, begin))
