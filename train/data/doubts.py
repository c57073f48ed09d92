"""What will go wrong with a data set, in words, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.spec import CascadeSpec
from foveate.train.data.dataset import DataSet

SMALL_CELLS = 9.0
"""Targets of fewer cells of stage 1's view than this are hard for it to find."""
NEARLY_ALL = 0.95


def doubts(
    dataset: DataSet, training: Sequence[str], validation: Sequence[str], spec: CascadeSpec
) -> list[str]:
    """Return a note where masks look inverted, and for every class that training hardly sees."""
    notes = _inverted(dataset)
    for label, name in enumerate(spec.classes[1:], 1):
        holding = {stem for stem in dataset.stems if label in dataset.contents[stem].areas}
        if len(holding) == 1:
            side = "validation" if holding.intersection(training) else "training"
            notes.append(
                f'Note: only {holding.pop()} holds "{name}", so no {side} image does; expected two '
                "images or more."
            )
        elif not holding.intersection(training):
            notes.append(f'Note: no training image holds "{name}"; it cannot be learned.')
        elif not holding.intersection(validation):
            notes.append(
                f'Note: no validation image holds "{name}" (training: {len(holding)}); its Dice is '
                "not measured, and nothing is chosen for it."
            )
        if not spec.pad_multiple:
            notes += _small(dataset.shares(label), name, spec)
    return notes


def _inverted(dataset: DataSet) -> list[str]:
    """Return a note where half of the images are nearly all foreground."""
    shares = [
        1 - item.areas.get(0, 0) / sum(item.areas.values())
        for item in dataset.contents.values()
        if item.areas
    ]
    if float(np.median(shares)) <= NEARLY_ALL:
        return []
    return [
        f"Note: half of the images are over {NEARLY_ALL:.0%} foreground. Are the masks inverted? "
        'mask_values="background=255,lesion=0" reads masks whose 0 is the foreground.'
    ]


def _small(shares: Sequence[float], name: str, spec: CascadeSpec) -> list[str]:
    """Return a note where a class is mostly too small for stage 1's view."""
    height, width = spec.stage1.height, spec.stage1.width
    cells = float(np.median(shares)) * height * width if shares else SMALL_CELLS
    if cells >= SMALL_CELLS:
        return []
    return [
        f'Note: in half of its images "{name}" covers less than {cells:.1f} pixels of the '
        f"{width} x {height} view that stage 1 sees. A larger image_height and "
        "image_width, or region_mode=tiles, may find more of it."
    ]
