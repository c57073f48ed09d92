"""The images of an export: those parity is measured on, and those int8 is calibrated on.

Never a test list. A run has its validation images for parity and its training images for the
calibration; of any other data set the train list is split in two by its groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.export.source import Source
from foveate.runtime.errors import DataError
from foveate.runtime.io.channels import as_channels
from foveate.runtime.io.window import chosen_window
from foveate.train.data.dataset import Case, DataSet, load_dataset, read_stems, split_validation
from foveate.train.data.phantom import PhantomSettings, phantoms

PARITY_IMAGES = 40
CALIBRATION_IMAGES = 32
PHANTOMS = 8
TRAIN_LIST = "train.txt"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """Images with their truth, and words for where they come from."""

    cases: Sequence[Case]
    source: str

    @property
    def sha256(self) -> str:
        """Return a sha256 over the stems and the pixels."""
        digest = hashlib.sha256()
        for case in self.cases:
            pixels = case.image
            digest.update(f"{case.name}\0{pixels.shape}\0{pixels.dtype}\0".encode())
            digest.update(pixels.tobytes())
        return digest.hexdigest()

    def record(self) -> dict[str, Any]:
        """Return what parity.json says of the images that int8 was calibrated on."""
        return {
            "images": len(self.cases),
            "source": self.source,
            "sha256": self.sha256,
            "ranges": "least and largest value",
        }


@dataclass(frozen=True)
class ImageSets:
    """At most 40 images for parity, and 32 for the calibration of int8, None where it has none."""

    parity: Images
    calibration: Images | None


def image_sets(
    source: Source, data: Path | None, int8: bool, progress: Progress = lambda done, total: None
) -> ImageSets:
    """Return the images of an export; DataError when there are none that will do.

    Without ``data`` a run's own data set is taken. A bundle has none, and that of a run may be
    gone: then phantoms are taken, without truth, for the masks can still be compared.
    """
    if data is not None:
        return _of_data(source, data, int8, progress)
    root = source.data_dir
    if root is None or not root.is_dir():
        if int8:
            gone = "a bundle names none" if root is None else f"{root} is gone"
            raise DataError(f"int8 is calibrated on training images, and {gone}: give --data DATA")
        drawn = phantoms(PhantomSettings(PHANTOMS, seed=4711))
        channels = source.cascade.spec.channels
        cases = [Case(item.stem, as_channels(item.image, channels), None) for item in drawn]
        return ImageSets(Images(cases, f"{PHANTOMS} phantoms"), None)
    chosen = {"validation": source.lists["validation"][:PARITY_IMAGES]}
    if int8:
        others = [stem for stem in source.lists["training"] if stem not in chosen["validation"]]
        chosen["training"] = _spread(others, CALIBRATION_IMAGES)
    listed = [stem for stems in chosen.values() for stem in stems]
    dataset = _load(source, root, listed, progress)
    found = {name: _images(dataset, stems, f"{name} images") for name, stems in chosen.items()}
    return ImageSets(found["validation"], found.get("training"))


def _of_data(source: Source, root: Path, int8: bool, progress: Progress) -> ImageSets:
    """Return the images of a data set: of its train list, where it has one."""
    listed = (root / TRAIN_LIST).is_file()
    stems = read_stems(root / TRAIN_LIST) if listed else None
    dataset = _load(source, root, stems, progress)
    kind = "images of the train list" if listed else "images"
    if not int8:
        return ImageSets(_images(dataset, dataset.stems[:PARITY_IMAGES], kind), None)
    calibration, parity = split_validation(dataset, 0.5, seed=0)
    return ImageSets(
        _images(dataset, _spread(parity, PARITY_IMAGES), kind),
        _images(dataset, _spread(calibration, CALIBRATION_IMAGES), f"{kind}, of other groups,"),
    )


def _load(source: Source, root: Path, stems: Sequence[str] | None, progress: Progress) -> DataSet:
    spec = source.cascade.spec
    dataset = load_dataset(
        root,
        source.image_dir,
        source.mask_dir,
        stems,
        progress,
        window=chosen_window("", spec),
        rules=source.masks,
        channels=spec.channels,
    )
    if dataset.classes > len(spec.classes) - 1:
        raise DataError(f"{root} has masks of more classes than the cascade was trained on")
    return dataset


def _images(dataset: DataSet, stems: Sequence[str], kind: str) -> Images:
    cases = [Case(stem, dataset.image(stem), dataset.mask(stem)) for stem in stems]
    return Images(cases, f"{len(cases)} {kind} of {dataset.root.resolve().name}")


def _spread(stems: Sequence[str], count: int) -> list[str]:
    """Return ``count`` stems, or all if there are fewer, spread evenly over the list."""
    count = min(count, len(stems))
    return [stems[index * len(stems) // count] for index in range(count)]
