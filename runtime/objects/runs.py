"""Find the horizontal runs of pixels that objects consist of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Pixels

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """The runs of N objects, sorted by object, line and column; int64 all.

    Run i belongs to object ``owner[i]``, counted from 0, and lies in line ``y[i]`` from column
    ``left[i]`` to ``right[i]``, both included. ``first`` (N,) is the first run of each object.
    ``changes`` (H, W) says where a run of an object or of none begins.
    """

    owner: Ints
    y: Ints
    left: Ints
    right: Ints
    first: Ints
    changes: npt.NDArray[np.bool_]
    _starts: Ints
    _order: Ints

    @classmethod
    def of(cls, numbers: npt.NDArray[np.int32]) -> Runs:
        """Return the runs of (H, W) numbers from 1 without a gap; 0 is no object."""
        changes = np.ones(numbers.shape, bool)
        np.not_equal(numbers[:, 1:], numbers[:, :-1], out=changes[:, 1:])
        starts = np.flatnonzero(changes)
        lengths = np.diff(starts, append=numbers.size)
        owner = numbers.ravel()[starts]
        order = np.flatnonzero(owner)
        keys = owner[order].astype(np.min_scalar_type(owner.max()))  # short ones sort faster
        order = order[np.argsort(keys, kind="stable")]
        y, left = np.divmod(starts[order], numbers.shape[1])
        objects = owner[order].astype(np.int64) - 1
        first = np.flatnonzero(np.diff(objects, prepend=-1))
        return cls(objects, y, left, left + lengths[order] - 1, first, changes, starts, order)

    def total(self, values: Ints) -> Ints:
        """Return the sum of one value per run over each object."""
        return np.asarray(np.add.reduceat(values, self.first))

    def least(self, values: Ints) -> Ints:
        """Return the least of one value per run in each object."""
        return np.asarray(np.minimum.reduceat(values, self.first))

    def greatest(self, values: Ints) -> Ints:
        """Return the greatest of one value per run in each object."""
        return np.asarray(np.maximum.reduceat(values, self.first))

    def sums(self, image: Pixels) -> Ints:
        """Return the sum of an (H, W) image over each object."""
        return self.total(np.add.reduceat(image.ravel(), self._starts, dtype=np.int64)[self._order])

    def extremes(self, image: Pixels) -> tuple[Ints, Ints]:
        """Return the least and the greatest value of an (H, W) image in each object."""
        flat = image.ravel()
        least = self.least(np.minimum.reduceat(flat, self._starts)[self._order])
        return least, self.greatest(np.maximum.reduceat(flat, self._starts)[self._order])
