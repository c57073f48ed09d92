"""From the values that masks store to classes; what other values look like, and what reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import cv2
import numpy as np

from foveate.runtime.agreement import IGNORED
from foveate.runtime.errors import DataError
from foveate.train.data.masks import Contents, Stored
from foveate.train.settings.mask_rules import MOST_CLASSES, MaskRules

FEW, SOFT = 8, 32
"""More values than these may number objects, or be the grey of soft edges."""
SHOWN = 20
SAMPLE, VALUES = 12, 32
"""Masks, and values of each, that are looked at to tell objects from classes."""
NEARLY_ALL = 0.9
Read = Callable[[str], Stored]
OBJECTS = (
    "most of them are one connected piece each, as numbers of objects are: mask_instances=true "
    "takes every value over 0 for foreground"
)


def find_labels(
    rules: MaskRules, contents: Mapping[str, Contents], folder: Path, read: Read
) -> dict[int, int]:
    """Return the label of each value that masks hold: by the rules, or judged over the whole set.

    ``contents`` count the stored values of each stem, and ``read`` reads them. DataError for values
    that have no label, and where all or nothing is foreground.
    """
    values = {value for item in contents.values() for value in item.areas} - {rules.ignore}
    if rules.threshold:
        labels = {value: int(value >= rules.threshold) for value in values}
    elif rules.instances:
        labels = {value: int(value > 0) for value in values}
    elif rules.values:
        _check_named(rules, contents, folder)
        labels = dict(rules.values)
    elif values in ({0, 255}, {0, 65535}):
        labels = {0: 0, max(values): 1}
    else:
        labels = {value: value for value in values}
    present = {labels[value] for value in values}
    if present <= {0}:
        raise DataError(f"{folder}: every mask is empty; expected some foreground{_by(rules)}")
    if 0 not in present:
        hint = _by(rules) or f". The setting {_named(values, 'background')}"
        raise DataError(
            f"{folder}: no mask has background (0); values found: {_shown(values)}{hint}"
        )
    most = max(present)
    if not rules.names and (most >= len(present) or most > MOST_CLASSES):
        raise DataError(
            f"{folder}: masks hold the values {_shown(values)}; expected {{0, 255}}, {{0, 1}} or "
            f"{{0 .. K}} over the whole set. {_advice(values, contents, read)}"
        )
    return labels | ({rules.ignore: IGNORED} if rules.ignore >= 0 else {})


def check_classes(contents: Mapping[str, Contents], read: Read, folder: Path) -> None:
    """Raise DataError where {0 .. K} are no classes: numbers of objects, or soft edges."""
    values = {value for item in contents.values() for value in item.areas}
    problem = ""
    if number_objects(values, contents, read):
        problem = OBJECTS
    elif len(values) > SOFT and _is_soft(values, contents):
        problem = _threshold(values)
    if problem:
        raise DataError(
            f"{folder}: masks hold {len(values)} values; {problem}. If they are classes, name "
            'them: mask_values="NAME=1,NAME=2,..."'
        )


def number_objects(values: Collection[int], contents: Mapping[str, Contents], read: Read) -> bool:
    """Say whether more values than FEW number objects: nearly every one is one piece of its image.

    And either the objects of most images are 1 to n, n not always the same, or they have numbers
    that no other image has. Classes of which each is one piece, as organs are, do neither.
    """
    found = {stem: sorted(item.areas.keys() & set(values) - {0}) for stem, item in contents.items()}
    found = {stem: labels for stem, labels in found.items() if labels}
    images = Counter(label for labels in found.values() for label in labels)
    if len(images) <= FEW:
        return False
    counted = np.mean([labels[-1] == len(labels) for labels in found.values()]) >= NEARLY_ALL
    varied = len({len(labels) for labels in found.values()}) > 1
    own = np.mean([count == 1 for count in images.values()]) >= NEARLY_ALL
    if not (own or (counted and varied)):
        return False
    whole = []
    for stem in list(found)[:: -(-len(found) // SAMPLE)]:
        mask = read(stem)
        for label in found[stem][:VALUES]:
            pieces, _ = cv2.connectedComponents((mask == label).astype(np.uint8), connectivity=8)
            whole.append(pieces == 2)
    return bool(np.mean(whole) >= NEARLY_ALL)


def _is_soft(values: Collection[int], contents: Mapping[str, Contents]) -> bool:
    """Say whether most of what is not dark is about as bright as the brightest."""
    top = max(values)
    area = Counter[int]()
    for item in contents.values():
        area.update({value: item.areas.get(value, 0) for value in values})
    bright = sum(count for value, count in area.items() if value > top * 7 / 8)
    return len(values) > FEW and 2 * bright > sum(c for v, c in area.items() if v > top / 8)


def _check_named(rules: MaskRules, contents: Mapping[str, Contents], folder: Path) -> None:
    """Raise DataError for the first value that mask_values does not name."""
    for stem, item in contents.items():
        for value in sorted(item.areas.keys() - rules.values.keys() - {rules.ignore}):
            raise DataError(
                f"{folder}: the mask of {stem} has {item.areas[value]} pixels of {value}, which "
                f"{rules.words} does not name"
            )


def _advice(values: Collection[int], contents: Mapping[str, Contents], read: Read) -> str:
    """Return the settings that would read such masks, for what they look like."""
    if number_objects(values, contents, read):
        return f"Here {OBJECTS}"
    if _is_soft(values, contents):
        return f"Here {_threshold(values)}"
    top, rest = max(values), sorted(values)[:-1]
    ignoring = f"ignore_value={top} leaves pixels of {top} out as not labelled, and "
    plain = len(rest) > 1 and rest == list(range(len(rest)))
    return f"The setting {ignoring * plain}{_named(values)}"


def _threshold(values: Collection[int]) -> str:
    half = (max(values) + 1) // 2
    return (
        "they look like soft edges or JPEG noise: "
        f"mask_threshold={half} takes values from {half} on for foreground"
    )


def _named(values: Collection[int], first: str = "") -> str:
    """Return the setting that names values as classes, the lowest ``first`` if given."""
    names = [first] * bool(first) + [f"class{number}" for number in range(1, len(values) + 1)]
    shown = sorted(values if first else set(values) - {0})
    pairs = [f"{name}={value}" for name, value in zip(names, shown, strict=False)]
    more = ",..." if len(pairs) > FEW else ""
    return f'mask_values="{",".join(pairs[:FEW])}{more}" names values as classes'


def _shown(values: Collection[int]) -> str:
    return f"{sorted(values)[:SHOWN]}{' ...' if len(values) > SHOWN else ''}"


def _by(rules: MaskRules) -> str:
    return f" (by {rules.words})" if rules.words else ""
