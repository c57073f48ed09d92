"""What will go wrong with a data set, in words, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.spec import CascadeSpec
from foveate.train.data.dataset import DataSet

SMALL_CELLS = 9.0
"""Targets of fewer cells of stage 1's view than this are hard for it to find."""


def doubts(
    dataset: DataSet, training: Sequence[str], validation: Sequence[str], spec: CascadeSpec
) -> list[str]:
    """Return a note for every class that one side lacks or that stage 1 hardly sees."""
    notes = []
    for label, name in enumerate(spec.classes[1:], 1):
        holding = {stem for stem in dataset.stems if label in dataset.contents[stem].areas}
        if not holding.intersection(training):
            notes.append(f'Note: no training image holds "{name}"; it cannot be learned.')
        elif not holding.intersection(validation):
            notes.append(
                f'Note: no validation image holds "{name}" (training: {len(holding)}); its Dice is '
                "not measured, and nothing is chosen for it."
            )
        if not spec.pad_multiple:
            notes += _small(dataset.shares(label), name, spec)
    return notes


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
