"""A data set in words, and what will go wrong with it, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.spec import GREY, CascadeSpec
from foveate.train.data.dataset import DataSet

SMALL_CELLS = 9.0
"""Targets of fewer cells of stage 1's view than this are hard for it to find."""
NEARLY_ALL = 0.95


def describe(
    dataset: DataSet, training: Sequence[str], validation: Sequence[str], spec: CascadeSpec
) -> list[str]:
    """Return what the data is, and what will go wrong with it, a line each."""
    said = summary(dataset, training, validation, spec.classes[1:])
    return said + doubts(dataset, training, validation, spec)


def summary(
    dataset: DataSet, training: Sequence[str], validation: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return lines on sizes, bits, classes (``names``, without background), groups and split."""
    example = "NAME" if len(names) == 1 else "A,B"
    return [
        _split(dataset, training, validation),
        _sizes(dataset),
        *(_class(dataset, label, name) for label, name in enumerate(names, 1)),
        *([f"Class names: --set class_names={example}"] if names[0] == "class 1" else []),
        _empty(dataset),
    ]


def percent(share: float) -> str:
    """Return a share as percent with two digits that count: 0.013%, 12%."""
    return f"{float(f'{share:.2g}') * 100:.10g}%"


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


def _split(dataset: DataSet, training: Sequence[str], validation: Sequence[str]) -> str:
    parts = []
    for name, stems in (("training", training), ("validation", validation)):
        groups = {dataset.groups.get(stem, stem) for stem in stems}
        parts.append(f"{name} {len(stems)}" + (f" in {len(groups)} groups" * bool(dataset.groups)))
    none = "" if dataset.groups else "; no groups.tsv, so every image is a group of its own"
    return f"{len(dataset.stems)} images: {', '.join(parts)}{none}."


def _sizes(dataset: DataSet) -> str:
    items = list(dataset.contents.values())
    sizes = sorted({(item.height * item.width, item.width, item.height) for item in items})
    least, most = (f"{width} x {height}" for _, width, height in (sizes[0], sizes[-1]))
    size = f"all {least} pixels" if len(sizes) == 1 else f"{least} to {most} pixels"
    wide = sum(item.bits > 8 for item in items)
    bits = {0: "all 8 bit", len(items): "all 16 bit"}.get(
        wide, f"{wide} of 16 bit and {len(items) - wide} of 8 bit, which are multiplied by 257"
    )
    read = "" if dataset.channels == GREY else f", channels {dataset.channels}"
    return f"Sizes: {size}. Depth: {bits}; the bundle will take {dataset.input_type}{read}."


def _class(dataset: DataSet, label: int, name: str) -> str:
    shares = dataset.shares(label)
    pixels = sum(item.height * item.width for item in dataset.contents.values())
    area = sum(item.areas.get(label, 0) for item in dataset.contents.values())
    if not shares:
        return f'Class {label} "{name}": in none of the images.'
    return (
        f'Class {label} "{name}": in {len(shares)} images, {percent(area / pixels)} of all pixels; '
        f"where it is, {percent(min(shares))} to {percent(max(shares))} of the image, median "
        f"{percent(float(np.median(shares)))}."
    )


def _empty(dataset: DataSet) -> str:
    empty = [stem for stem, item in dataset.contents.items() if item.empty]
    return f"Empty masks: {len(empty)}" + (
        f" ({', '.join(empty[:3])}{' ...' * (len(empty) > 3)})." if empty else "."
    )


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
