"""The images that a benchmark runs on: phantoms drawn for it, or a data set with its masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.errors import DataError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.window import chosen_window
from foveate.runtime.segment.concurrency import MOST_SIZES
from foveate.train.data.dataset import Case, load_dataset, read_stems
from foveate.train.data.phantom import PhantomSettings, phantom
from foveate.train.settings.mask_rules import MaskRules

PHANTOM_SEED = 90_000
"""No training, demo or export draws its phantoms with this seed."""
Size = TypeVar("Size", bound=tuple[int, ...])


@dataclass(frozen=True)
class Images:
    """Images by name, read when they are asked for.

    ``sizes`` are (height, width) and ``groups`` the names of the groups, in order.
    """

    name: str
    names: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    load: Callable[[int], Case]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Case]:
        return (self.load(index) for index in range(len(self)))

    def facts(self) -> dict[str, Any]:
        """Return the ``data`` of a result file."""
        sizes = [list(size) for size in sorted(set(self.sizes))]
        return {
            "name": self.name,
            "images": len(self),
            "sizes": sizes,
            "truth": True,
            "fingerprint": self.fingerprint,
        }

    def only(self, keep: Sequence[int]) -> Images:
        """Return some of the images, by index."""
        return Images(
            self.name,
            tuple(self.names[index] for index in keep),
            tuple(self.groups[index] for index in keep),
            tuple(self.sizes[index] for index in keep),
            lambda index: self.load(keep[index]),
            self.fingerprint,
        )

    def of_one_size(self) -> Images:
        """Return the images of the size that most of them have, so that they can form a batch."""
        size = Counter(self.sizes).most_common(1)[0][0]
        return self.only([index for index, own in enumerate(self.sizes) if own == size])


def phantom_images(count: int, size: int, bits: int, channels: int = 1) -> Images:
    """Return phantoms of size x size pixels that nothing was trained on, alike in all channels."""
    settings = PhantomSettings(count, size, seed=PHANTOM_SEED, bits=bits)

    def draw(index: int) -> Case:
        item = phantom(settings, index)
        image: Any = item.image
        if channels > 1:
            image = np.repeat(image[:, :, None], channels, axis=2)
        return Case(item.stem, image, item.mask)

    names = tuple(f"phantom {index}" for index in range(count))
    name, key = f"phantoms {size}x{size}", f"seed {PHANTOM_SEED}, {size} px, {bits} bit"
    return Images(name, names, names, ((size, size),) * count, draw, key)


def dataset_images(root: Path, stem_list: Path | None, bundle: Bundle) -> Images:
    """Return a data set's images with their masks, or those of a list of stems.

    They are read as those of the bundle's training were. DataError when the masks have more
    foreground classes than the bundle.
    """
    spec, classes = bundle.spec, len(bundle.spec.classes) - 1
    rules = MaskRules.of_manifest(bundle.manifest).for_classes(spec.classes[1:])
    stems = read_stems(stem_list) if stem_list else None
    window, channels = chosen_window("", spec), spec.channels
    dataset = load_dataset(root, stems=stems, window=window, rules=rules, channels=channels)
    if dataset.classes > classes:
        raise DataError(
            f"{root} has masks of {dataset.classes} classes, the bundle knows {classes}; expected "
            "the data set it was trained for"
        )
    headers = [read_header(*dataset.images[stem], channels) for stem in dataset.stems]

    def read(index: int) -> Case:
        stem = dataset.stems[index]
        return Case(stem, dataset.image(stem), dataset.mask(stem))

    name = root.resolve().name + (f", {stem_list.name}" if stem_list else "")
    sizes = tuple((header.height, header.width) for header in headers)
    groups = tuple(dataset.groups.get(stem, stem) for stem in dataset.stems)
    return Images(name, dataset.stems, groups, sizes, read, dataset.fingerprint)


def most_frequent(sizes: Iterable[Size]) -> list[Size]:
    """Return the most frequent sizes, as many as ``segment`` compiles engines for."""
    return [size for size, _ in Counter(sizes).most_common(MOST_SIZES)]


def find_images(
    bundle: Bundle, data: Path | None, stem_list: Path | None, count: int, size: int
) -> Images:
    """Return the data set's images, or phantoms of the bundle's input type where there is none."""
    if data is not None:
        return dataset_images(data, stem_list, bundle)
    if stem_list is not None:
        raise DataError(f"--list {stem_list} names images of a data set; give DATA too")
    bits = 16 if bundle.spec.input_type == "uint16" else 8
    return phantom_images(count, size, bits, bundle.spec.input_channels)
