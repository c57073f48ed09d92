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
    are copied; folders become part of their names. Images are checked before anything is written.
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
            try:
                _paint(mask, segmentation, classes.index(name) + 1)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{image.name}: a segmentation is malformed: {error}") from error
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


def _paint(mask: Mask, segmentation: Segmentation, label: int) -> None:
    if not isinstance(segmentation, Mapping):
        for ring in segmentation:
            fill(mask, ring, label)
    elif tuple(segmentation["size"]) == mask.shape:
        mask[decode_run_lengths(segmentation)] = label
    else:
        raise ValueError(f"its size is {segmentation['size']}, the image's {list(mask.shape)}")


def fill(mask: Mask, ring: Sequence[float], label: int) -> None:
    """Set the pixels of (H, W) whose middles a polygon x0, y0, x1, y1, ... encloses, even-odd.

    The pixel of row y and column x is the square from (x, y) to (x + 1, y + 1).
    """
    corners = np.reshape(np.asarray(ring, float), (-1, 2)) - 0.5
    following = np.roll(corners, -1, axis=0)
    down = (corners[:, 1] <= following[:, 1])[:, None]  # an edge is the same both ways
    upper, lower = np.where(down, corners, following), np.where(down, following, corners)
    # the rows that each edge crosses, end exclusive
    first, last = np.ceil([upper[:, 1], lower[:, 1]]).clip(0, mask.shape[0]).astype(int)
    counts = last - first
    edge = np.repeat(np.arange(len(corners)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    column = np.ceil(x0 + (row - y0) * (x1 - x0) / (y1 - y0)).clip(0, mask.shape[1]).astype(int)
    rows = mask[first.min() : last.max()]
    crossings = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
    np.bitwise_xor.at(crossings, (row - first.min(), column), 1)
    rows[np.bitwise_xor.accumulate(crossings, axis=1)[:, :-1] == 1] = label
