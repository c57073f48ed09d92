"""Masks of a data set, as they are stored: 8 or 16 bit grey, palette indices, or named colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.agreement import IGNORED
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.exif import upright
from foveate.runtime.io.formats.header import Header
from foveate.runtime.io.formats.headers import opened, read_header
from foveate.runtime.io.formats.nifti import Nifti
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.formats.volumes import Volume
from foveate.runtime.io.images import read_image_and_header

Mask = npt.NDArray[np.uint8]
Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Colours = npt.NDArray[np.uint32]
SHOWN = 6
"""Colours that an error names."""
BAND_ROWS = 1024
BAND_PIXELS = 1 << 20
"""Masks are counted so many pixels at a time: numpy counts in eight bytes a pixel."""


def read_mask(path: Path, colours: Mapping[int, int] | None = None, page: int = 0) -> Stored:
    """Return the stored values of a mask file, (H, W) uint8 or uint16; palette indices as such.

    With ``colours``, 0xRRGGBB -> label, it is the label of each pixel's colour instead. An EXIF
    orientation is applied, as to images. ImageError when it is damaged, of another type, in colours
    without ``colours``, or in others than those. ``page`` is a slice of NIfTI, from 1; it is turned
    as a slice of an image is.
    """
    header = read_header(path, page)
    if header.volume:
        return _slice(path, page, header.volume)
    if header.colour_16:
        raise ImageError("has colours of 16 bits; expected grey, a palette, or colours of 8 bits")
    plain = header.mode.startswith("I;16") or header.array and header.mode == "L"
    if plain and not colours:
        return read_image_and_header(path, page, None)[0]
    with opened(path) as file:
        return np.ascontiguousarray(upright(_stored(file, colours), header.orientation))


def _slice(path: Path, page: int, volume: Volume) -> Stored:
    if not isinstance(volume, Nifti):
        raise ImageError("is DICOM; expected a mask in a picture or in NIfTI. Convert it first")
    with opened(path, page) as file:
        return volume.labels(file, page)


def _stored(file: BinaryIO, colours: Mapping[int, int] | None) -> Mask:
    """Return the values of a mask file, not yet upright but for a TIFF, which Pillow turns."""
    try:
        with Image.open(file) as image:
            if colours:
                return _labels_of(_packed(np.asarray(image.convert("RGB"))), colours)
            if image.mode in ("RGB", "RGBA"):
                return _one_channel(np.asarray(image, dtype=np.uint8))
            if image.mode in ("1", "LA"):
                return np.asarray(image.convert("L"), dtype=np.uint8)
            if image.mode in ("L", "P"):
                return _in_bands(image)
            mode = image.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"is damaged: {error}") from error
    raise ImageError(f'has mode "{mode}"; expected 8 or 16 bit grey or palette')


def _in_bands(image: Image.Image) -> Mask:
    """Return the pixels of a picture of one byte each; at once Pillow would hold them thrice."""
    image.load()  # a TIFF is turned by this
    values = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, BAND_ROWS):
        stop = min(image.height, top + BAND_ROWS)
        values[top:stop] = np.asarray(image.crop((0, top, image.width, stop)))
    return values


def _one_channel(values: npt.NDArray[np.uint8]) -> Mask:
    """Return the grey of an RGB or RGBA mask; ImageError when its colours are not grey."""
    red, green, blue = np.moveaxis(values[:, :, :3], 2, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        found = [colour for colour, _ in _most(_packed(values)) if colour]
        names = ",".join(f"class{n}=#{colour:06x}" for n, colour in enumerate(found[:SHOWN], 1))
        raise ImageError(
            "has colours; expected class indices or 0 and 255, in grey or a palette. If colours "
            f'are classes, name them: mask_colours="{names}{",..." * (len(found) > SHOWN)}"'
        )
    return np.ascontiguousarray(red)


def _packed(values: npt.NDArray[np.uint8]) -> Colours:
    """Return the (H, W) colours 0xRRGGBB of an RGB or RGBA picture."""
    red, green, blue = np.moveaxis(values[:, :, :3], 2, 0).astype(np.uint32)
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def _most(colours: Colours) -> list[tuple[int, int]]:
    """Return the colours and how many pixels have them, most frequent first."""
    found, counts = np.unique(colours, return_counts=True)
    return [(int(found[place]), int(counts[place])) for place in np.argsort(-counts, kind="stable")]


def _labels_of(pixels: Colours, colours: Mapping[int, int]) -> Mask:
    """Return the label of each colour; ImageError names those that have none."""
    mask, known = np.zeros(pixels.shape, np.uint8), np.zeros(pixels.shape, bool)
    for colour, label in colours.items():
        here = pixels == colour
        mask[here] = label
        known |= here
    if not known.all():
        others = _most(pixels[~known])
        shown = ", ".join(f"#{colour:06x} ({count} pixels)" for colour, count in others[:SHOWN])
        raise ImageError(
            f"has colours that mask_colours does not name: {shown}"
            f"{', ...' * (len(others) > SHOWN)}. Name them, or save masks without smoothing and "
            "lossy compression"
        )
    return mask


def relabelled(stored: Stored, labels: Mapping[int, int]) -> Mask:
    """Return the (H, W) uint8 label of each stored value."""
    if stored.dtype == np.uint8 and all(value == label for value, label in labels.items()):
        return stored.astype(np.uint8, copy=False)
    table = np.zeros(np.iinfo(stored.dtype).max + 1, np.uint8)
    table[list(labels)] = list(labels.values())
    flat, mask = stored.reshape(-1), np.empty(stored.size, np.uint8)
    for start in range(0, flat.size, BAND_PIXELS):  # an index has eight bytes a pixel
        mask[start : start + BAND_PIXELS] = table[flat[start : start + BAND_PIXELS]]
    return mask.reshape(stored.shape)


def foreground(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return where a mask has any class but background."""
    return np.asarray((mask > 0) & (mask != IGNORED))


@dataclass(frozen=True)
class Contents:
    """Size in pixels and bits of an image (8 or 16), and pixels of each value in its mask.

    ``pixel_size`` is what the file of the image states, None if nothing; ``channels`` are those it
    is read with, and ``colour`` says whether the file could have any colours.
    """

    height: int
    width: int
    bits: int
    areas: dict[int, int]
    pixel_size: PixelSize | None = None
    channels: int = 1
    colour: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of image and mask, decoded."""
        return self.height * self.width * (self.bits // 8 * self.channels + 1)

    @property
    def empty(self) -> bool:
        return set(self.areas) <= {0}

    def share(self, label: int) -> float:
        """Return the share of the image that a class covers, 0 to 1."""
        return self.areas.get(label, 0) / (self.height * self.width)

    def relabelled(self, labels: Mapping[int, int]) -> Contents:
        """Return the same by label instead of stored value, without what is not labelled."""
        areas: dict[int, int] = {}
        for value, count in self.areas.items():
            label = labels[value]
            if label != IGNORED:
                areas[label] = areas.get(label, 0) + count
        return replace(self, areas=areas)


def contents_of(header: Header, counts: npt.NDArray[np.int64], channels: int) -> Contents:
    """Return the contents of an image by its header and what its mask has of each value."""
    wide = header.mode.startswith("I;16") or header.sample_bits > 8
    areas = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    bits = 16 if wide else 8
    size, colour = (header.height, header.width), header.colour
    return Contents(*size, bits, areas, header.pixel_size, channels, colour)


def count_values(mask: Stored) -> npt.NDArray[np.int64]:
    """Return int64: how many pixels of a mask have each value that its type can hold."""
    kinds = np.iinfo(mask.dtype).max + 1
    flat, counts = mask.reshape(-1), np.zeros(kinds, np.int64)
    for start in range(0, flat.size, BAND_PIXELS):
        counts += np.bincount(flat[start : start + BAND_PIXELS], minlength=kinds)
    return counts
