"""Make masks by a Decision, from the probabilities in the box or from the graph's own mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.cascade.decision import Decision
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.probability import pasted_bands, refined_planes
from foveate.runtime.result import FloatArray, Mask, Result
from foveate.runtime.spec import CascadeSpec

Binary = npt.NDArray[np.bool_]
Window = tuple[slice, slice]


def decide(
    result: Result, spec: CascadeSpec, decision: Decision, size: PixelSize | None = None
) -> Result:
    """Return a result whose (H, W) mask is decided anew; all else, the score too, is the graph's.

    ``size`` is that of a pixel. With a threshold the result must have ``refined``. ImageError where
    the decision needs a pixel size and there is none.
    """
    (mask,) = decided_masks(result, spec, [decision], size)
    return replace(result, mask=mask)


def decided_masks(
    result: Result, spec: CascadeSpec, decisions: Sequence[Decision], size: PixelSize | None = None
) -> list[Mask]:
    """Return the mask of each decision; the probabilities are put back into the image once."""
    masks, pending = [], []
    for decision in decisions:
        mask = result.mask
        if decision.threshold is not None:
            mask = np.zeros(mask.shape, np.uint8)
            pending.append((mask, decision.label_thresholds(spec)))
        masks.append(mask)
    if pending:
        for place, values in pasted_bands(refined_planes(result, spec), result, spec):
            for mask, thresholds in pending:
                mask[place] = _labels(values, thresholds)
    pairs = zip(masks, decisions, strict=True)
    return [_cleaned(mask, spec, decision, size) for mask, decision in pairs]


def _labels(values: FloatArray, thresholds: Mapping[int, float]) -> Mask:
    """Return class indices of (C, rows, columns) probabilities; see ``Decision.threshold``."""
    labels = np.zeros(values.shape[1:], np.uint8)
    first = 0 if len(values) == 1 else 1  # the binary plane is that of class 1
    won, top = np.zeros_like(values[0]), values.max(axis=0)
    for label, value in enumerate(values[first:], 1):
        given = thresholds.get(label)
        counts = (value == top) & (value > values[0]) if given is None else value > given
        counts &= value > won
        np.copyto(labels, label, where=counts, casting="unsafe")
        np.copyto(won, value, where=counts)
    return labels


def _cleaned(mask: Mask, spec: CascadeSpec, decision: Decision, size: PixelSize | None) -> Mask:
    """Return a mask after all steps of a decision but the threshold; it is not changed itself."""
    across, down = decision.radius.per_unit(size)
    radii = [round(decision.radius.value * scale) for scale in (across, down)]
    across, down = decision.least_area.per_unit(size)
    least = decision.least_area.value * across * down
    if any(radii):
        mask = _smoothed(mask, spec, [min(radius, max(mask.shape)) for radius in radii])
    if decision.fill_holes:
        mask = _filled(mask, spec)
    if decision.largest_only or least > 1:
        mask = _without_small_pieces(mask, spec, decision.largest_only, least)
    return mask


def _classes(mask: Mask, spec: CascadeSpec) -> Iterator[tuple[int, Window, Mask]]:
    """Yield each class that a mask has, the window around it, and its 0/1 pixels in the window."""
    for label in range(1, len(spec.classes)):
        inside = (mask == label).view(np.uint8)
        x, y, width, height = cv2.boundingRect(inside)
        if width:
            window = slice(y, y + height), slice(x, x + width)
            yield label, window, np.ascontiguousarray(inside[window])


def _smoothed(mask: Mask, spec: CascadeSpec, radii: Sequence[int]) -> Mask:
    """Return the binary median of each class; no two can have more than half of a window."""
    sides = [2 * radius + 1 for radius in radii]
    smooth = np.zeros_like(mask)
    for label in range(1, len(spec.classes)):
        inside = (mask == label).view(np.uint8)
        counts = cv2.boxFilter(
            inside, cv2.CV_32F, sides, normalize=False, borderType=cv2.BORDER_REPLICATE
        )
        smooth[counts > sides[0] * sides[1] / 2] = label
    return smooth


def _filled(mask: Mask, spec: CascadeSpec) -> Mask:
    """Return a mask without holes; background at the image's border is not a hole."""
    filled = mask.copy()
    for label, window, inside in _classes(mask, spec):
        field = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        cv2.floodFill(field, None, (0, 0), 1)
        part = filled[window]
        part[(field[1:-1, 1:-1] == 0) & (part == 0)] = label
    return filled


def _without_small_pieces(mask: Mask, spec: CascadeSpec, largest_only: bool, least: float) -> Mask:
    """Return a mask whose pieces have ``least`` pixels or more; of each class one piece at most."""
    kept = np.zeros_like(mask)
    for label, window, inside in _classes(mask, spec):
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        stays = areas >= least
        stays[0] = False
        if largest_only:
            stays &= np.arange(count) == 1 + areas[1:].argmax()
        kept[window][stays[numbers]] = label
    return kept
