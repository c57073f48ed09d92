"""Write the files of an image: the mask, and next to it what was requested.

Everything is encoded first and written after, each file under a temporary name that is renamed:
what cannot be encoded leaves nothing, and where a mask lies its companions lie too.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Pixels
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import ImageError
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.exchange.registry import ENCODERS
from foveate.runtime.io.exchange.source import ImageSource
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.output_settings import OUTPUT_KINDS, OutputSettings
from foveate.runtime.io.overlay import draw_overlay, picture_of
from foveate.runtime.io.png import encode_mask, encode_png
from foveate.runtime.io.probability import probability_picture
from foveate.runtime.objects.labels import Objects, label_objects
from foveate.runtime.objects.table import encode_table
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

__all__ = ["OUTPUT_KINDS", "OutputSettings", "encode_overlay", "write_outputs"]

MOST_LABELS = (1 << 16) - 1
"""Objects that a 16-bit picture can number."""
THUMBNAIL = 192
"""Pixels on the long side of a thumbnail, at most."""


def write_outputs(
    settings: OutputSettings,
    out: Path,
    name: str,
    image: Pixels,
    result: Result,
    spec: CascadeSpec,
    source: str = "",
    size: PixelSize | None = None,
    objects: Objects | None = None,
) -> dict[str, str]:
    """Write the files of one image into ``out``; return the sha256 of each, the mask's first.

    They are called as ``settings.names(name)`` says; folders are made. ``source`` is the path of
    the image, ``name`` where it is empty; ``size`` is that of a pixel, which a PNG mask states;
    ``objects`` are those of the mask, given if ``settings.objects``. The sha256 is that of the
    bytes as they were encoded. Raises OSError, which names the file, SettingsError as
    ``settings.check`` does, and ImageError for too many objects for ``settings.labels``.
    """
    files = settings.names(name)
    found = ImageSource(Path(source or name), name, out / files[0])
    encoded = _encoded(settings, found, image, result, spec, size, objects)
    contents = dict(zip(files, encoded, strict=True))
    for file in reversed(files):
        _write(out, file, contents[file])
    return {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def _encoded(
    settings: OutputSettings,
    source: ImageSource,
    image: Pixels,
    result: Result,
    spec: CascadeSpec,
    size: PixelSize | None,
    objects: Objects | None,
) -> Iterator[bytes]:
    """Yield the content of every file, in the order of their names."""
    if settings.annotates:
        annotated = objects or label_objects(result.mask, bool(settings.split))
        yield ENCODERS[settings.kind](annotated, result, spec, source)
    elif settings.kind == "npz":
        yield encode_npz(result, spec, settings.probability)
    else:
        yield encode_mask(result.mask, len(spec.classes), size)
    if settings.overlay:
        yield encode_overlay(image, result, spec)
    foreground = probability_picture(result, spec) if settings.probability else None
    if foreground is not None:
        yield encode_png(foreground, 8)
    if objects is not None:
        pixel_um = (1000 * size.width, 1000 * size.height) if size else None
        yield encode_table(
            objects, grey_of(image, spec.channels), spec.classes, foreground, pixel_um
        )
    if objects is not None and settings.labels:
        yield encode_labels(objects)
    if settings.page:
        yield encode_thumbnail(image, result, spec)


def encode_npz(result: Result, spec: CascadeSpec, probabilities: bool) -> bytes:
    """Return the NPZ of a result, loadable without pickle, the same bytes for the same result.

    ``probabilities`` adds ``coarse`` and ``refined`` as they are.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "mask": result.mask,
        "box_xyxy": result.box_xyxy,
        "score": np.array(result.score),
        "classes": np.array(spec.classes),
    }
    if probabilities and result.coarse is not None and result.refined is not None:
        arrays |= {"coarse": result.coarse, "refined": result.refined}
    import zipfile  # 3 ms, and only for NPZ

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():  # np.savez_compressed deflates at level 6 only
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def encode_labels(objects: Objects) -> bytes:
    """Return a 16-bit grey PNG of the numbers of objects; ImageError if there are too many."""
    if len(objects.classes) > MOST_LABELS:
        raise ImageError(
            f"the mask has {len(objects.classes)} objects, and a 16-bit picture can number "
            f"{MOST_LABELS}; segment this image without --labels"
        )
    return encode_png(objects.numbers.astype(np.uint16), 16)


def encode_overlay(image: Pixels, result: Result, spec: CascadeSpec, quality: int = 90) -> bytes:
    """Return the JPEG of an image with its mask and box drawn."""
    boxes = None if spec.region.mode == "none" else result.box_xyxy
    picture = draw_overlay(picture_of(image, spec.channels), result.mask, boxes)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def encode_thumbnail(image: Pixels, result: Result, spec: CascadeSpec) -> bytes:
    """Return a small overlay, ``THUMBNAIL`` pixels on the long side; single pixels still show."""
    height, width = result.mask.shape
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    block = np.ones((math.ceil(1 / scale),) * 2, np.uint8)
    greatest = cv2.dilate(result.mask, block, anchor=(0, 0))  # the greatest class of each block
    mask = np.asarray(cv2.resize(greatest, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    step = max(1, int(1 / scale) // 2)  # averaging every pixel is slow
    few = picture_of(image[::step, ::step].copy(), spec.channels)
    small = np.asarray(cv2.resize(few, size, interpolation=cv2.INTER_AREA), np.uint8)
    boxes = result.box_xyxy * np.float32(scale)
    return encode_overlay(small, replace(result, mask=mask, box_xyxy=boxes), spec, quality=80)


def _write(out: Path, name: str, content: bytes) -> None:
    """Write a file, its folder too when it is not there: rarely, so it is not looked for first.

    ``out`` itself is never made: where it is gone, somebody took it away.
    """
    path = out / name
    try:
        write_atomically(path, content)
    except FileNotFoundError:
        for folder in reversed(Path(name).parents[:-1]):
            (out / folder).mkdir(exist_ok=True)
        write_atomically(path, content)
