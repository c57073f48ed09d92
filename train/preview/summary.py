"""A data set in words, for the terminal, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.train.data.dataset import DataSet


def summary(
    dataset: DataSet, training: Sequence[str], validation: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return lines on sizes, bits, classes (``names``, without background), groups and split."""
    return [
        _split(dataset, training, validation),
        _sizes(dataset),
        *(_class(dataset, label, name) for label, name in enumerate(names, 1)),
        _empty(dataset),
    ]


def percent(share: float) -> str:
    """Return a share as percent with two digits that count: 0.013%, 12%."""
    return f"{float(f'{share:.2g}') * 100:.10g}%"


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
    return f"Sizes: {size}. Depth: {bits}; the bundle will take {dataset.input_type}."


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
