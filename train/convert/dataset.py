"""Write a data set of images and masks from annotations."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import DataError, ImageError, SettingsError
from foveate.runtime.io.exchange.coco import decode_run_lengths
from foveate.runtime.io.formats.headers import read_header, stem_of
from foveate.runtime.io.png import write_mask
from foveate.train.convert.annotations import Annotated, Segmentation, read_annotations
from foveate.train.settings.mask_rules import MOST_CLASSES

Mask = npt.NDArray[np.uint8]


def convert_annotations(
    source: Path, out: Path, images: Path | None, progress: Callable[[int, int], None]
) -> tuple[list[str], list[int]]:
    """Write ``images`` and ``masks`` into ``out``; return the classes and each image's objects.

    Masks hold the place of the class from 1; where objects overlap, the later one counts. Images
    are copied; folders become part of their names. All is checked before anything is written:
    DataError names what cannot be used, SettingsError an ``out`` that holds images already.
    """
    if any((out / "images").glob("*")):
        raise SettingsError(f"{out}: holds images already; choose another folder")
    classes, found = read_annotations(source, images)
    if not 1 <= len(classes) <= MOST_CLASSES or not found:
        raise DataError(
            f"{source}: has {len(classes)} classes and {len(found)} images; expected 1 to "
            f"{MOST_CLASSES} classes, and images"
        )
    stems: dict[str, Annotated] = {}
    for image in found:
        if stems.setdefault(_stem(image), image) is not image:
            raise DataError(f"{source}: two images would be called {_stem(image)}; rename one")
        _check_size(image)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number, (stem, image) in enumerate(stems.items(), 1):
        mask = np.zeros(image.size, np.uint8)
        for name, segmentation in image.objects:
            mask[_inside(segmentation, image)] = classes.index(name) + 1
        write_mask(out / "masks" / f"{stem}.png", mask, len(classes) + 1)
        suffix = image.path.name[len(stem_of(image.path)) :]
        shutil.copyfile(image.path, out / "images" / f"{stem}{suffix}")
        progress(number, len(stems))
    return classes, [len(image.objects) for image in found]


def _stem(image: Annotated) -> str:
    name = Path(image.name)
    folders = [part for part in name.parent.parts if part not in (name.anchor, "..")]
    return "_".join([*folders, stem_of(name)])


def _check_size(image: Annotated) -> None:
    try:
        header = read_header(image.path)
    except ImageError as error:
        raise DataError(f"{image.path}: {error}. --images FOLDER says where images are") from error
    if image.size != (header.height, header.width):
        raise DataError(
            f"{image.path}: is {header.width}x{header.height}, its annotations are for "
            f"{image.size[1]}x{image.size[0]}; expected the image that was annotated"
        )


def _inside(segmentation: Segmentation, image: Annotated) -> npt.NDArray[np.bool_]:
    try:
        if not isinstance(segmentation, Mapping):
            return np.logical_or.reduce([fill(ring, image.size) for ring in segmentation])
        if tuple(segmentation["size"]) != image.size:
            raise ValueError(f"it has the size {segmentation['size']}")
        return decode_run_lengths(segmentation)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{image.name}: a segmentation is malformed: {error}") from error


def fill(ring: Sequence[float], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the (H, W) pixels whose middles a polygon x0, y0, x1, y1, ... encloses, even-odd.

    The pixel of row y and column x is the square from (x, y) to (x + 1, y + 1).
    """
    start = np.reshape(np.asarray(ring, float), (-1, 2)) - 0.5
    end = np.roll(start, -1, axis=0)
    first, last = np.sort(np.ceil([start[:, 1], end[:, 1]]).clip(0, shape[0]).astype(int), axis=0)
    counts = last - first  # rows that each edge crosses
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    column = np.ceil(x0 + (row - y0) * (x1 - x0) / (y1 - y0)).clip(0, shape[1]).astype(int)
    crossings = np.zeros((shape[0], shape[1] + 1), np.uint8)
    np.bitwise_xor.at(crossings, (row, column), 1)
    return np.bitwise_xor.accumulate(crossings, axis=1)[:, :-1].astype(bool)
