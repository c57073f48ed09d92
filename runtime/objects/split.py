"""Split pieces of a mask at their necks: a watershed on the distance to the background.

Every pixel drains to the highest of its neighbours, up to a summit of the distance. Two summits
are one object unless the neck between them is narrow: its half width, the distance at its highest
point, is under ``NECK`` of the lower summit and more than ``DEPTH`` pixels below it.
``cv2.watershed`` floods by differences of colour instead, from seeds that it does not find.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

NECK = 0.85
DEPTH = 1.25
_INDEX = (1 << 32) - 1
Numbers = npt.NDArray[np.int32]
Distances = npt.NDArray[np.float32]


def split_touching(inside: npt.NDArray[np.uint8]) -> tuple[Numbers, int]:
    """Return (H, W) int32 numbers from 1 of the parts of a 0/1 mask, and how many there are."""
    distances = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5).astype(np.float32)
    pixels = np.flatnonzero(inside)
    uphill = _highest_neighbours(distances)
    moving = pixels
    while len(moving):  # each step doubles how far uphill a pixel is seen to drain
        higher = uphill[moving]
        uphill[moving] = uphill[higher]
        moving = moving[uphill[moving] != higher]
    summits = pixels[uphill[pixels] == pixels]
    numbers = np.zeros(inside.shape, np.int32)
    flat = numbers.ravel()
    flat[summits] = np.arange(1, len(summits) + 1)
    flat[pixels] = flat[uphill[pixels]]
    heights = np.concatenate([[0], distances.ravel()[summits]])
    merged = _merged(heights, *_saddles(numbers, distances))
    names = np.unique(merged, return_inverse=True)[1].astype(np.int32)
    return names[numbers], int(names.max())


def _highest_neighbours(distances: Distances) -> npt.NDArray[np.int64]:
    """Return the flat index of the highest pixel around each; of equal ones, the last."""
    index = np.arange(distances.size).reshape(distances.shape)
    keys = (
        distances.view(np.int32).astype(np.int64) << 32 | index
    )  # bits of floats >= 0 are in order
    highest = keys.copy()
    np.maximum(highest[:, 1:], keys[:, :-1], out=highest[:, 1:])
    np.maximum(highest[:, :-1], keys[:, 1:], out=highest[:, :-1])
    keys = highest.copy()
    np.maximum(highest[1:], keys[:-1], out=highest[1:])
    np.maximum(highest[:-1], keys[1:], out=highest[:-1])
    return (highest & _INDEX).ravel()


def _saddles(
    numbers: Numbers, distances: Distances
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Distances]:
    """Return where basins meet: two numbers and the distance at the highest point in between.

    Highest points first.
    """
    height, width = numbers.shape
    found = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width + min(0, right)]
        one, other = numbers[here], numbers[there]
        meet = (one != other) & (one > 0) & (other > 0)
        least = np.minimum(distances[here][meet], distances[there][meet])
        found.append(
            (np.minimum(one[meet], other[meet]), np.maximum(one[meet], other[meet]), least)
        )
    low, high, at = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((-at, high, low))
    low, high, at = low[order], high[order], at[order]
    first = np.ones(len(at), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, at = low[first], high[first], at[first]
    order = np.argsort(-at, kind="stable")
    return low[order], high[order], at[order]


def _merged(
    heights: npt.NDArray[np.float64],
    low: npt.NDArray[np.int32],
    high: npt.NDArray[np.int32],
    at: Distances,
) -> npt.NDArray[np.int64]:
    """Return the basin that each basin is part of once those without a neck have merged."""
    parents = list(range(len(heights)))

    def root(basin: int) -> int:
        while parents[basin] != basin:
            parents[basin] = parents[parents[basin]]
            basin = parents[basin]
        return basin

    for one, other, saddle in zip(low.tolist(), high.tolist(), at.tolist(), strict=True):
        one, other = root(one), root(other)
        lower, higher = sorted((one, other), key=lambda basin: (heights[basin], basin))
        if saddle >= NECK * heights[lower] or saddle >= heights[lower] - DEPTH:
            parents[lower] = higher
    return np.array([root(basin) for basin in range(len(parents))])
