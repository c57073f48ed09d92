"""Number the objects of a mask: the 8-connected pieces of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.objects.split import split_touching
from foveate.runtime.result import Mask


@dataclass(frozen=True)
class Objects:
    """The objects of a mask, numbered from 1: class by class, from top to bottom in each.

    ``numbers`` is (H, W) int32, 0 where there is none; ``classes`` is (N,) uint8, the class index
    of each object.
    """

    numbers: npt.NDArray[np.int32]
    classes: npt.NDArray[np.uint8]

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        """Return the objects of every foreground class; ``names`` begins with the background."""
        counts = np.bincount(self.classes, minlength=len(names)).tolist()
        return dict(zip(names[1:], counts[1:], strict=True))


def label_objects(mask: Mask, split: bool = False) -> Objects:
    """Return the objects of a (H, W) uint8 mask of class indices, 0 being background.

    ``split`` cuts pieces at their necks, as ``split_touching`` does.
    """
    numbers = np.zeros(mask.shape, np.int32)
    counts = [0] * 256
    for label in range(1, int(mask.max()) + 1):
        inside = np.equal(mask, label).view(np.uint8)
        if split:
            pieces, count = split_touching(inside)
        else:
            total, found = cv2.connectedComponents(inside, connectivity=8, ltype=cv2.CV_32S)
            pieces, count = np.asarray(found, np.int32), total - 1
        if any(counts):
            pieces += inside * np.int32(sum(counts))
            numbers |= pieces  # classes do not overlap
        else:
            numbers = pieces
        counts[label] = count
    return Objects(numbers, np.repeat(np.arange(256, dtype=np.uint8), counts))
