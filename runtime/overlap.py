"""How alike masks are: Dice against a truth, disagreement against another engine (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


def dice(mask: Mask, truth: Mask, label: int) -> float:
    """Return 2 |A and B| / (|A| + |B|) of one class; NaN when neither mask has it."""
    a, b = mask == label, truth == label
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else float("nan")


@dataclass
class Disagreement:
    """Pooled disagreement |A xor B| / |A or B| over a set of images, foreground only.

    A pixel where both have foreground but of different classes counts as disagreeing. Two empty
    masks agree. ``flips`` counts images where one mask is empty and the other is not.
    """

    differing: int = 0
    union: int = 0
    images: int = 0
    flips: int = 0
    moved_boxes: int = 0
    worst: float = 0.0
    worst_name: str = ""
    dice_change: list[float] = field(default_factory=list)

    def add(self, name: str, mask: Mask, reference: Mask, box_moved: bool) -> float:
        """Add one image and return its own disagreement."""
        differing = int(np.count_nonzero(mask != reference))
        union = int(np.count_nonzero((mask > 0) | (reference > 0)))
        self.differing += differing
        self.union += union
        self.images += 1
        self.flips += bool(mask.any()) != bool(reference.any())
        self.moved_boxes += box_moved
        own = differing / union if union else 0.0
        if own > self.worst:
            self.worst, self.worst_name = own, name
        return own

    @property
    def value(self) -> float:
        return self.differing / self.union if self.union else 0.0
