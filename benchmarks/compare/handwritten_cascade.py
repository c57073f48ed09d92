"""The cascade's geometry as one writes it by hand: numpy and OpenCV around one or two networks.

The same steps and the same box rule as the fused graph, with OpenCV's resampling, which is faster
on a CPU and not the same filter: INTER_AREA to shrink, INTER_LINEAR to enlarge. Only the box is
pasted and thresholded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from foveate.export.importing.glue import opencv_resize, planes, statistics
from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.result import Mask
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.reference.geometry import ROUND_SIDE, ROUND_START

FloatArray = npt.NDArray[np.float32]
Network = Callable[[FloatArray], FloatArray]
"""(N, inputs, h, w) float32 to (N, C, h, w) float32 logits."""


@dataclass(frozen=True)
class HandwrittenCascade:
    """One or two networks and the glue; called with an image, returns mask and box."""

    spec: CascadeSpec
    stage1: Network
    stage2: Network | None = None

    def __call__(self, image: Pixels) -> tuple[Mask, FloatArray]:
        """Return (H, W) uint8 classes and the box (4,) xyxy of an (H, W) image."""
        return self.batch([image])[0]

    def batch(self, images: Sequence[Pixels]) -> list[tuple[Mask, FloatArray]]:
        """Return classes and box of every image; each network is called once, with all of them."""
        spec, crop = self.spec, self.spec.stage2
        pixels = [as_input_type(image, *spec.input_kind) for image in images]
        small = [resize(plane, spec.stage1) / np.float32(spec.full_scale) for plane in pixels]
        scales = [statistics(spec, plane) for plane in small]
        inputs = [
            planes((plane - mean) / std) for plane, (mean, std) in zip(small, scales, strict=True)
        ]
        coarse = [self._probabilities(logits) for logits in self.stage1(np.stack(inputs))]
        if crop is None or self.stage2 is None:
            return [self._whole(plane, found) for plane, found in zip(pixels, coarse, strict=True)]
        boxes, inputs = [], []
        for plane, found, (mean, std) in zip(pixels, coarse, scales, strict=True):
            foreground = found[0] if spec.binary else 1 - found[0]
            x0, y0, x1, y1 = box = find_box(foreground, plane.shape, spec)
            near = resize(plane[y0:y1, x0:x1], crop) / np.float32(spec.full_scale)
            hint = _hint(foreground, box, plane.shape, crop)
            inputs.append(np.concatenate([planes((near - mean) / std), hint[None]]))
            boxes.append(box)
        masks = []
        for plane, box, logits in zip(pixels, boxes, self.stage2(np.stack(inputs)), strict=True):
            x0, y0, x1, y1 = box
            mask = np.zeros(plane.shape[:2], np.uint8)
            size = Size(y1 - y0, x1 - x0)
            mask[y0:y1, x0:x1] = self._decide(self._probabilities(logits), size)
            masks.append((mask, np.array(box, np.float32)))
        return masks

    def _whole(self, plane: Pixels, coarse: FloatArray) -> tuple[Mask, FloatArray]:
        """Return classes and box of an image whose network sees all of it."""
        height, width = plane.shape[:2]
        box = np.array([0, 0, width, height], np.float32)
        return self._decide(coarse, Size(height, width)), box

    def _probabilities(self, logits: FloatArray) -> FloatArray:
        """Return (C, h, w) of one image's logits."""
        if self.spec.binary:
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
        power = np.exp(logits - logits.max(axis=0))
        return np.asarray(power / power.sum(axis=0), np.float32)

    def _decide(self, refined: FloatArray, size: Size) -> Mask:
        maps = [resize(plane, size) for plane in refined]
        if self.spec.binary:
            return np.asarray(maps[0] > self.spec.mask_threshold, np.uint8)
        return np.asarray(np.stack(maps).argmax(axis=0), np.uint8)


def resize(plane: npt.NDArray[np.generic], size: Size) -> FloatArray:
    """Return a (H, W) or (H, W, C) image as (h, w) or (h, w, C) float32 in the same unit."""
    shrinks = plane.shape[0] > size.height or plane.shape[1] > size.width
    return opencv_resize(plane, size, shrinks)


def find_box(
    foreground: FloatArray, shape: tuple[int, ...], spec: CascadeSpec
) -> tuple[int, int, int, int]:
    """Return the box xyxy in whole pixels of an (H, W) image, by the bundle's rule."""
    region, crop = spec.region, spec.stage2
    assert crop is not None
    marked = (foreground > region.threshold).astype(np.uint8)
    opened = _opened(marked, region.opening)
    left, top, width, height = cv2.boundingRect(opened if opened.any() else marked)
    if not marked.any():
        left, top, height, width = 0, 0, *foreground.shape
    scale_y, scale_x = shape[0] / foreground.shape[0], shape[1] / foreground.shape[1]
    widen = 1 + 2 * region.margin
    zoom = max(
        max(height * scale_y * widen, region.min_height) / crop.height,
        max(width * scale_x * widen, region.min_width) / crop.width,
    )
    y0, y1 = _place((top + height / 2) * scale_y, zoom * crop.height, shape[0])
    x0, x1 = _place((left + width / 2) * scale_x, zoom * crop.width, shape[1])
    return x0, y0, x1, y1


def _opened(marked: Mask, side: int) -> Mask:
    """Return the opening by a square: morphologyEx would shift it where ``side`` is even."""
    square, nothing = np.ones((side, side), np.uint8), cv2.BORDER_CONSTANT
    eroded = cv2.erode(marked, square, anchor=(0, 0), borderType=nothing, borderValue=0)
    last = (side - 1, side - 1)
    opened = cv2.dilate(eroded, square, anchor=last, borderType=nothing, borderValue=0)
    return np.asarray(opened, np.uint8)


def _place(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Return an interval of whole pixels around a centre, inside [0, limit]."""
    whole = min(int(np.ceil(side - ROUND_SIDE)), limit)
    start = int(np.floor(centre - whole / 2 + ROUND_START))
    start = min(max(start, 0), limit - whole)
    return start, start + whole


def _hint(
    foreground: FloatArray, box: tuple[int, int, int, int], shape: tuple[int, ...], crop: Size
) -> FloatArray:
    """Return stage 1's foreground inside the box, (h2, w2), by an affine resampling."""
    x0, y0, x1, y1 = box
    scale_y, scale_x = foreground.shape[0] / shape[0], foreground.shape[1] / shape[1]
    step_y, step_x = (y1 - y0) / crop.height * scale_y, (x1 - x0) / crop.width * scale_x
    matrix = np.array(
        [
            [step_x, 0, x0 * scale_x + step_x / 2 - 0.5],
            [0, step_y, y0 * scale_y + step_y / 2 - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(
        foreground, matrix, (crop.width, crop.height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, np.float32)
