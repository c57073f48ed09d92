"""How alike masks are: Dice against a truth, disagreement against another engine (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

BOUNDS = {
    "fp32": (0.001, 0.0005),
    "fp16": (0.01, 0.002),
    "bf16": (0.01, 0.002),
    "tf32": (0.01, 0.002),
    "int8": (0.03, 0.005),
}
"""Precision -> largest disagreement and largest change of the mean Dice."""
IGNORED = 255
"""Label of the pixels of a truth that are not labelled: they count in no figure."""
MOVED = 0.5
"""A box has moved when one of its sides has, by more than this many pixels."""


def dice(mask: Mask, truth: Mask, label: int) -> float:
    """Return 2 |A and B| / (|A| + |B|) of one class; NaN when neither mask has it."""
    a, b = mask == label, truth == label
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else float("nan")


def without_ignored(mask: Mask, truth: Mask) -> Mask:
    """Return a (H, W) mask that is background where the (H, W) truth is IGNORED."""
    ignored = truth == IGNORED
    return np.where(ignored, np.uint8(0), mask) if ignored.any() else mask


def moved(box: FloatArray, reference: FloatArray) -> bool:
    """Say whether boxes, (R, 4) or (4,) xyxy in pixels, are others than the reference's.

    Their order does not count: tiles of nearly the same mass may change places.
    """
    ours, theirs = (_sorted(boxes.reshape(-1, 4)) for boxes in (box, reference))
    return ours.shape != theirs.shape or bool(np.abs(ours - theirs).max() > MOVED)


def _sorted(boxes: FloatArray) -> FloatArray:
    return np.asarray(boxes[np.lexsort(boxes.T)], np.float32)


@dataclass(frozen=True)
class Pair:
    """One image's mask against the reference's.

    ``differing`` and ``union`` count pixels; ``flip`` says that one mask is empty and the other is
    not. ``dice`` and ``dice_reference`` are those of each class that the truth has, so that all
    masks of an image are judged on the same classes. ``false_alarms`` counts classes that the mask
    has and the truth has not.
    """

    name: str
    differing: int
    union: int
    flip: bool
    moved: bool
    dice: tuple[float, ...] = ()
    dice_reference: tuple[float, ...] = ()
    false_alarms: int = 0

    @property
    def disagreement(self) -> float:
        return self.differing / self.union if self.union else 0.0


def compare_masks(
    name: str, mask: Mask, reference: Mask, box_moved: bool, truth: Mask | None = None
) -> Pair:
    """Return how (H, W) masks of class indices differ, foreground only.

    A pixel where both have foreground but of different classes counts as differing.
    """
    judged: dict[str, Any] = {}
    if truth is not None:
        ours, theirs, target = (without_ignored(one, truth) for one in (mask, reference, truth))
        present = _labels(target)
        judged = {
            "dice": tuple(dice(ours, target, label) for label in present),
            "dice_reference": tuple(dice(theirs, target, label) for label in present),
            "false_alarms": len(set(_labels(ours)) - set(present)),
        }
    return Pair(
        name=name,
        differing=int(np.count_nonzero(mask != reference)),
        union=int(np.count_nonzero((mask > 0) | (reference > 0))),
        flip=bool(mask.any()) != bool(reference.any()),
        moved=box_moved,
        **judged,
    )


def _labels(mask: Mask) -> list[int]:
    """Return the foreground classes that a mask has."""
    return [label for label in np.unique(mask).tolist() if label]


@dataclass
class Disagreement:
    """Pooled disagreement |A xor B| / |A or B| over a set of images. Two empty masks agree."""

    pairs: list[Pair] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        self.pairs.append(pair)

    @property
    def value(self) -> float:
        union = sum(pair.union for pair in self.pairs)
        return sum(pair.differing for pair in self.pairs) / union if union else 0.0

    @property
    def flips(self) -> list[str]:
        return [pair.name for pair in self.pairs if pair.flip]

    @property
    def moved_boxes(self) -> list[str]:
        return [pair.name for pair in self.pairs if pair.moved]

    @property
    def worst(self) -> Pair | None:
        """Return the image with the largest disagreement of its own; None where all agree."""
        found = max(self.pairs, key=lambda pair: pair.disagreement, default=None)
        return found if found is not None and found.differing else None

    @property
    def mean_dice(self) -> tuple[float, float] | None:
        """Return the mean Dice over images and classes, ours and the reference's."""
        ours = [value for pair in self.pairs for value in pair.dice]
        theirs = [value for pair in self.pairs for value in pair.dice_reference]
        return (float(np.mean(ours)), float(np.mean(theirs))) if ours else None

    @property
    def false_alarms(self) -> int:
        return sum(pair.false_alarms for pair in self.pairs)

    @property
    def dice_change(self) -> float | None:
        """Return by how much the mean Dice changed; None without truth."""
        means = self.mean_dice
        return None if means is None else means[0] - means[1]

    def held(self, precision: str) -> bool:
        """Say whether the masks are the same by the bounds of a precision."""
        bound, dice_bound = BOUNDS[precision]
        return self.value <= bound and abs(self.dice_change or 0.0) <= dice_bound
