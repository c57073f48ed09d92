"""A data set on disk: ``images/``, ``masks/``, lists of stems, and groups that stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foveate.runtime.agreement import IGNORED
from foveate.runtime.errors import DataError, ImageError
from foveate.runtime.io.channels import check_channels
from foveate.runtime.io.formats.header import Header
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import Pixels, read_image
from foveate.runtime.io.window import Window
from foveate.runtime.spec import GREY, channel_count
from foveate.train.data.files import (
    Files,
    ImageFile,
    find_files,
    groups_of_slices,
    some_of,
    with_slices,
)
from foveate.train.data.mask_labels import find_labels
from foveate.train.data.masks import (
    Contents,
    Mask,
    Stored,
    contents_of,
    count_values,
    read_mask,
    relabelled,
)
from foveate.train.settings.mask_rules import MaskRules


@dataclass(frozen=True)
class DataSet:
    """Images and masks paired by stem.

    ``labels`` is the label of each value that masks store, ``rules`` what the settings say of it.
    ``classes`` counts the foreground classes; ``fingerprint`` is a sha256 over stems, file sizes
    and mask contents. ``unpaired`` are the masks that have no image, ``held_out`` the images that
    a list of test images names; both are left out.
    ``contents`` says how large every image is and what its mask holds.
    """

    root: Path
    stems: tuple[str, ...]
    images: Files
    masks: Files
    groups: dict[str, str]
    labels: dict[int, int]
    classes: int
    input_type: str
    fingerprint: str
    unpaired: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    contents: dict[str, Contents] = field(default_factory=dict)
    window: Window | None = None
    rules: MaskRules = MaskRules()
    channels: str = GREY

    def image(self, stem: str) -> Pixels:
        """Return the uint8 or uint16 image of a stem: grey (H, W), others (H, W, C)."""
        try:
            return read_image(*self.images[stem], window=self.window, channels=self.channels)
        except ImageError as error:
            raise DataError(str(error)) from error

    def mask(self, stem: str) -> Mask:
        """Return the (H, W) uint8 mask of a stem: 0 background, 1 .. classes, IGNORED."""
        return relabelled(_stored(self.masks[stem], self.rules), self.labels)

    @property
    def encoding(self) -> str:
        """How masks are read, in words: by the settings, or by the values they hold."""
        if self.rules.words or self.classes > 1:
            return self.rules.words or "class indices"
        return f"0 and {max(self.labels)}"

    @property
    def layers(self) -> tuple[int, ...]:
        """The labels of which training views have the area shares: all classes, then IGNORED.

        That only where the settings have an ``ignore_value``.
        """
        ignored = (IGNORED,) if self.rules.ignore >= 0 else ()
        return (*range(1, self.classes + 1), *ignored)

    def shares(self, label: int) -> list[float]:
        """Return the share that a class has of each image that holds it."""
        return [item.share(label) for item in self.contents.values() if label in item.areas]


@dataclass(frozen=True)
class Case:
    """One image in memory; ``truth`` is its (H, W) class mask, None where there is none."""

    name: str
    image: Pixels
    truth: Mask | None


def load_dataset(
    root: Path,
    image_dir_name: str = "images",
    mask_dir_name: str = "masks",
    stems: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    window: Window | None = None,
    rules: MaskRules = MaskRules(),  # noqa: B008
    test_list: Path | None = None,
    channels: str = GREY,
) -> DataSet:
    """Return a data set after looking at every mask of it; DataError names what is wrong.

    ``stems`` limits it to those (a list file); without it all images are taken. Those that the
    file ``test_list`` names are left out. ``progress`` is called with how many masks have been
    read, and how many there are. ``window``, ``channels``: as for ``read_image``; images that need
    a window are read whole. ``rules`` say how masks are read.
    """
    images, volumes = find_files(root / image_dir_name)
    masks, _ = find_files(root / mask_dir_name)
    chosen = with_slices(sorted(images) if stems is None else stems, volumes)
    if not chosen:
        raise DataError(f"{root / image_dir_name} has no images; expected at least two with masks")
    tests = set(with_slices(read_stems(test_list), volumes)) if test_list else set()
    held_out = tuple(stem for stem in chosen if stem in tests)
    chosen = tuple(stem for stem in chosen if stem not in tests)
    if not chosen:
        raise DataError(
            f"every image is in {test_list}; name those to train on in {root / 'train.txt'}"
        )
    _check_pairs(root, chosen, images, masks)
    digest = hashlib.sha256()
    contents: dict[str, Contents] = {}
    for index, stem in enumerate(chosen):
        header, mask = _checked_mask(images[stem], masks[stem], rules, window, channels)
        contents[stem] = contents_of(header, count_values(mask), channel_count(channels))
        digest.update(f"{stem}\0{images[stem].path.stat().st_size}\0".encode())
        digest.update(hashlib.sha256(np.ascontiguousarray(mask).data).digest())
        progress(index + 1, len(chosen))
    labels = find_labels(
        rules, contents, root / mask_dir_name, lambda stem: _stored(masks[stem], rules)
    )
    contents = {stem: item.relabelled(labels) for stem, item in contents.items()}
    return DataSet(
        root=root,
        stems=chosen,
        images=images,
        masks=masks,
        groups=groups_of_slices(_groups(root / "groups.tsv", {*images, *volumes}), volumes),
        labels=labels,
        classes=len(rules.names) or max(max(item.areas, default=0) for item in contents.values()),
        input_type="uint16" if any(item.bits > 8 for item in contents.values()) else "uint8",
        fingerprint=digest.hexdigest(),
        unpaired=tuple(sorted(set(masks) - set(images))),
        held_out=held_out,
        contents=contents,
        window=window,
        rules=rules,
        channels=channels,
    )


def read_stems(path: Path) -> list[str]:
    """Return the stems of a list file, one a line; blank lines are passed over."""
    stems = [line.strip() for line in _lines(path) if line.strip()]
    if not stems:
        raise DataError(f"{path}: the list of stems is empty")
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise DataError(f"{path}: listed more than once: {some_of(repeated)}")
    return stems


def split_validation(
    dataset: DataSet, fraction: float, seed: int, chosen: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (training, validation) stems; a group is never on both sides.

    Whole groups go to validation, in the order of a seeded shuffle, until ``fraction`` of the
    images is there; or the stems ``chosen`` do. Both sides have some foreground, and some of every
    class where its groups allow it; DataError where fewer than two groups have any foreground.
    """
    validation = set(chosen or ())
    if chosen is None:
        members, names = _shuffled_groups(
            dataset, seed, 2, "two groups, one to train on and one to validate on"
        )
        present = {
            name: {label for stem in members[name] for label in dataset.contents[stem].areas}
            for name in names
        }
        holders = [
            [name for name in names if label in present[name]]
            for label in range(1, dataset.classes + 1)
        ]
        filled = [name for name in names if present[name] - {0}]
        if len(filled) < 2:
            raise DataError(
                f"{dataset.root}: {len(filled)} group(s) with any foreground; expected at least "
                "two, one to train on and one to validate on"
            )
        holders = [groups for groups in [filled, *holders] if len(groups) > 1]
        kept = {groups[-1] for groups in holders}
        expected = max(1, round(fraction * len(dataset.stems)))
        for name in names:
            if name not in kept and len(validation) < expected:
                validation.update(members[name])
        for groups in holders:
            if not any(validation.issuperset(members[name]) for name in groups):
                free = [name for name in groups if name not in kept]
                validation.update(*(members[name] for name in free[:1]))
    return (
        tuple(stem for stem in dataset.stems if stem not in validation),
        tuple(stem for stem in dataset.stems if stem in validation),
    )


def split_folds(dataset: DataSet, count: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Return ``count`` lists of stems, each stem in one of them, groups whole.

    Groups go to the fold that has the fewest images, those with foreground first, then the largest
    group first, groups of one size in the order of a seeded shuffle. DataError when there are fewer
    groups than folds.
    """
    members, names = _shuffled_groups(dataset, seed, count, f"one group for each of {count} folds")
    folds: list[set[str]] = [set() for _ in range(count)]
    empty = {name for name in names if all(dataset.contents[s].empty for s in members[name])}
    for name in sorted(names, key=lambda name: (name in empty, -len(members[name]))):
        min(folds, key=len).update(members[name])
    return tuple(tuple(stem for stem in dataset.stems if stem in fold) for fold in folds)


def _shuffled_groups(
    dataset: DataSet, seed: int, least: int, expected: str
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the stems of each group, and the groups' names shuffled; DataError for too few.

    A stem without a group is a group of its own.
    """
    members: dict[str, list[str]] = {}
    for stem in dataset.stems:
        members.setdefault(dataset.groups.get(stem, stem), []).append(stem)
    if len(members) < least:
        raise DataError(
            f"{dataset.root}: {len(dataset.stems)} image(s) in {len(members)} group(s); "
            f"expected at least {expected}"
        )
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names))
    return members, [names[index] for index in order]


def _check_pairs(root: Path, chosen: Sequence[str], images: Files, masks: Files) -> None:
    for kind, files in (("image", images), ("mask", masks)):
        missing = [stem for stem in chosen if stem not in files]
        if missing:
            raise DataError(
                f"{root}: {len(missing)} of {len(chosen)} stems have no {kind}: "
                f"{some_of(missing)}. Add them, or list only the others in train.txt or --list"
            )


def _stored(file: ImageFile, rules: MaskRules) -> Stored:
    return read_mask(file.path, rules.colours, file.page)


def _checked_mask(
    image: ImageFile, stored: ImageFile, rules: MaskRules, window: Window | None, channels: str
) -> tuple[Header, Stored]:
    try:
        header = read_header(*image, channels)
        check_channels(header, channels)
    except ImageError as error:
        raise DataError(f"{image.path}: {error}") from error
    try:
        if header.numbers:
            read_image(*image, header, window, channels)
    except ImageError as error:
        raise DataError(str(error)) from error
    try:
        mask = _stored(stored, rules)
    except ImageError as error:
        raise DataError(f"{stored.path} {error}") from error
    if mask.shape != (header.height, header.width):
        raise DataError(
            f"{stored.path} is {mask.shape[1]}x{mask.shape[0]}, its image is "
            f"{header.width}x{header.height}; expected the same size"
        )
    return header, mask


def _groups(path: Path, images: Container[str]) -> dict[str, str]:
    """Return stem -> group; DataError names a malformed line and stems that are not there."""
    groups: dict[str, str] = {}
    for number, line in enumerate(_lines(path) if path.exists() else [], 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 2 or not all(parts):
            raise DataError(f"{path}, line {number}: expected stem<TAB>group, got {line!r:.80}")
        stem, group = parts
        if groups.setdefault(stem, group) != group:
            raise DataError(f"{path}, line {number}: {stem} is in {groups[stem]} and in {group}")
    unknown = sorted(stem for stem in groups if stem not in images)
    if unknown:
        raise DataError(f"{path}: {len(unknown)} stem(s) have no image: {some_of(unknown)}")
    return groups


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start})") from error
