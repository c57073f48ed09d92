"""Perimeters of all objects at once, as scikit-image has them (neighbourhood 4)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from foveate.runtime.objects.runs import Floats, Runs

_LENGTHS = np.zeros(50)
"""The length of a border pixel: by 1, 2 for each neighbour at a side, 10 for each at a corner."""
_LENGTHS[[5, 7, 15, 17, 25, 27]] = 1.0
_LENGTHS[[21, 33]] = math.sqrt(2)
_LENGTHS[[13, 23]] = (1 + math.sqrt(2)) / 2


def perimeters(numbers: npt.NDArray[np.int32], runs: Runs) -> Floats:
    """Return the (N,) perimeters in pixels of the objects that (H, W) numbers from 1 name.

    The border of an object is its pixels next to another value at one of four sides; they are
    counted by how many of their eight neighbours are on the border of the same object (K. Benkrid
    and D. Crookes, Design and FPGA Implementation of a Perimeter Estimator).
    """
    height, width = numbers.shape
    border = runs.changes.copy()
    border[:, :-1] |= runs.changes[:, 1:]
    down = numbers[1:] != numbers[:-1]
    border[1:] |= down
    border[:-1] |= down
    border[[0, -1]] = border[:, -1] = True
    at = np.flatnonzero(border)
    owner = numbers.ravel()[at]
    kept = np.flatnonzero(owner)
    at, owner = at[kept], owner[kept]
    line = width + 2  # with a pixel of nothing around the image
    at += 2 * (at // width) + line + 1
    owners = np.zeros((height + 2) * line, np.int32)
    owners[at] = owner
    code = np.ones(len(at), np.uint8)
    for weight, steps in (
        (2, (-line, -1, 1, line)),
        (10, (-line - 1, 1 - line, line - 1, line + 1)),
    ):
        for step in steps:
            code += np.uint8(weight) * (owners[at + step] == owner)
    return np.asarray(np.bincount(owner - 1, _LENGTHS[code]), np.float64)
