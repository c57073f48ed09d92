"""Describe the result of an image as one line of ``results.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.result import Mask, Result, Timings
from foveate.runtime.spec import GREY, CascadeSpec

LOW_SCORE = 0.5
"""A score is low in the lower half of what it can be; see ``low_score``."""
FEW_LEVELS = 16
"""With fewer grey levels an image is flagged; see ``low_range``."""
COUNTED = 0.999
"""The share of the pixels that the levels must hold: a few hot pixels do not count."""
_GRID = 64
_MANY_LEVELS = 64
_BAND_PIXELS = 1 << 20
"""Pixels compared at a time: what a large mask is compared to stays in the processor's cache."""


def result_line(
    item_path: str,
    page: int,
    written: Mapping[str, str],
    image: Pixels,
    result: Result,
    spec: CascadeSpec,
    size: PixelSize | None = None,
) -> dict[str, Any]:
    """Return the line of one image; docs/outputs.md says what each field means.

    ``written`` is what ``write_outputs`` returned. ``ms`` holds the engine's share; whoever decodes
    and encodes adds theirs, and the bundle.
    """
    mask, mask_sha256 = next(iter(written.items()))
    area = _areas(result.mask, spec)
    return {
        "input": item_path,
        "page": page,
        "mask": mask,
        "mask_sha256": mask_sha256,
        "height": image.shape[0],
        "width": image.shape[1],
        "image_type": str(image.dtype),
        **({"pixel_size_mm": size.xy_mm} if size else {}),
        "box_xyxy": [[_number(value) for value in box] for box in result.box_xyxy.tolist()],
        "score": round(result.score, 6),
        "area": area,
        "ms": {} if result.timings is None else _milliseconds(result.timings),
        "engine": result.engine,
        "flags": _flags(result, sum(area.values()) == 0, spec)
        + ["low_range"] * low_range(image, spec.input_type, spec.channels),
    }


def low_score(spec: CascadeSpec) -> float:
    """Return the score below which a result is flagged.

    A pixel is foreground when its probability is over the mask threshold (binary) or the highest
    of all classes, so no score is below the threshold, or below 1 / classes. ``LOW_SCORE`` is the
    share of the way from there to 1: 0.75 where the threshold is 0.5.
    """
    least = spec.mask_threshold if spec.binary else 1 / len(spec.classes)
    return least + LOW_SCORE * (1 - least)


def low_range(image: Pixels, input_type: str, channels: str = GREY) -> bool:
    """Return whether an image has few grey levels (``grey_of``) once it is of an input type.

    That is when fewer than ``FEW_LEVELS`` levels hold ``COUNTED`` of its pixels. They are counted
    only if a grid of 64 x 64 pixels does not have many levels already.
    """
    down, across = (-(-side // _GRID) for side in image.shape[:2])
    grid = as_input_type(grey_of(image[::down, ::across], channels), input_type)
    if np.count_nonzero(np.bincount(grid.ravel())) >= _MANY_LEVELS:
        return False
    image = grey_of(image, channels)
    values: Pixels = np.arange(1 << 8, dtype=np.uint8)
    if image.dtype == np.uint16:
        values = np.arange(1 << 16, dtype=np.uint16)
    limits = (0.0, float(len(values)))
    pixels = cv2.calcHist([np.ascontiguousarray(image)], [0], None, [len(values)], limits).ravel()
    levels = np.bincount(as_input_type(values[None], input_type)[0], pixels)
    largest = np.sort(levels)[-FEW_LEVELS + 1 :]
    return bool(largest.sum() >= COUNTED * image.size)


def _areas(mask: Mask, spec: CascadeSpec) -> dict[str, int]:
    """Return the pixels of every foreground class; 0.1 ms a class for 1024 x 1024."""
    step = max(1, _BAND_PIXELS // mask.shape[1])
    bands = [mask[top : top + step] for top in range(0, len(mask), step)]
    return {
        name: sum(int(np.count_nonzero(band == label)) for band in bands)
        for label, name in enumerate(spec.classes)
        if label > 0
    }


def _flags(result: Result, empty: bool, spec: CascadeSpec) -> list[str]:
    if empty:
        return ["empty"]
    touches = _at_edge(result.mask) if spec.region.mode == "tiles" else _touches_border(result)
    flags = {"touches_border": touches, "low_score": result.score < low_score(spec)}
    return [name for name, holds in flags.items() if holds]


def _touches_border(result: Result) -> bool:
    """Say whether a box reaches the image's border; where it is the whole image, the mask itself.

    The box is the whole image where stage 1 found nothing, where the image is no larger than the
    least box, and where there is no stage 2: there it says nothing of the object.
    """
    height, width = result.mask.shape
    whole = [0.0, 0.0, float(width), float(height)]
    for box in result.box_xyxy.tolist():
        if box == whole:
            if _at_edge(result.mask):
                return True
        elif any(side == end for side, end in zip(box, whole, strict=True)):
            return True
    return False


def _at_edge(mask: Mask) -> bool:
    """Say whether foreground lies at the image's edge; tiles of a grid touch it by themselves."""
    return any(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _number(value: float) -> int | float:
    """Return a side of a box as JSON shows it best; sides are whole pixels."""
    return int(value) if value.is_integer() else round(value, 3)


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {
        "h2d": round(timings.h2d_ms, 3),
        "execute": round(timings.execute_ms, 3),
        "d2h": round(timings.d2h_ms, 3),
    }
