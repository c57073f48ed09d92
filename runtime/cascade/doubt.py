"""Measure how much a cascade doubts a result: what to label next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from foveate.runtime.cascade.decision import Decision
from foveate.runtime.geometry import paste_weights
from foveate.runtime.io.probability import refined_planes
from foveate.runtime.result import FloatArray, Mask, Result
from foveate.runtime.spec import CascadeSpec

DIGITS = 4
"""Digits of a doubt: the last bits of a batch's sums do not change the order of images."""

_EDGE = np.ones((3, 3), np.uint8)


def measure_doubt(
    result: Result, mirrored: Result, spec: CascadeSpec, decision: Decision
) -> dict[str, Any]:
    """Return ``doubt``, 0 (none) to 1, and its parts as ``doubt_parts``; it is their mean.

    ``stages``: stage 1 against stage 2 where stage 2 looked; absent where there is one stage.
    ``uncertainty``: how near the threshold the foreground's probability is. ``flip``: the mask
    against that of the image mirrored left to right, ``mirrored``, which is mirrored back here.
    ``missing_score``: what the score lacks of 1; all of it where the mask is empty.
    docs/outputs.md says how each is computed. Both results are decided; ``result`` must have its
    probabilities.
    """
    parts = {}
    if spec.stage2 is not None:
        parts["stages"] = _stages(result, spec)
    parts["uncertainty"] = _uncertainty(result, spec, decision)
    parts["flip"] = _difference(result.mask, mirrored.mask[:, ::-1])
    parts["missing_score"] = 1 - result.score if result.mask.any() else 1.0
    rounded = {name: round(value, DIGITS) for name, value in parts.items()}
    return {
        "doubt": round(sum(parts.values()) / len(parts), DIGITS),
        "doubt_parts": rounded,
    }


def _stages(result: Result, spec: CascadeSpec) -> float:
    """Return the squared difference of both stages' foreground over the sum of both.

    Stage 2 is put on the cells of stage 1, so that its finer edges are not a difference.
    """
    assert result.coarse is not None
    coarse = _foreground(result.coarse)
    height, width = coarse.shape[1:]
    down, across = height / result.mask.shape[0], width / result.mask.shape[1]
    differing = total = 0.0
    for (x0, y0, x1, y1), planes in _regions(result, spec):
        rows = paste_weights(y0 * down, y1 * down, height, planes.shape[1])
        columns = paste_weights(x0 * across, x1 * across, width, planes.shape[2])
        in_rows, in_columns = rows.any(axis=1), columns.any(axis=1)
        refined = rows[in_rows] @ _foreground(planes) @ columns[in_columns].T
        seen = coarse[:, in_rows][:, :, in_columns]
        differing += float(np.square(seen - refined).sum())
        total += float((seen + refined).sum())
    return differing / total if total else 0.0


def _uncertainty(result: Result, spec: CascadeSpec, decision: Decision) -> float:
    """Return 4 a b / (a + b)^2 of the two likeliest classes, averaged by foreground probability.

    It is 1 at the threshold: a class's odds are divided by those of its threshold first. The least
    value of 3 x 3 cells counts, which leaves out thin edges: else small objects would be doubtful.
    """
    thresholds = {1: spec.mask_threshold} if spec.binary else {}
    thresholds |= decision.label_thresholds(spec)
    near = total = 0.0
    for _, planes in _regions(result, spec):
        foreground = _foreground(planes)
        background = 1 - foreground.sum(axis=0)
        first, second = np.maximum(background, 0), np.zeros_like(background)
        for label, plane in enumerate(foreground, 1):
            threshold = thresholds.get(label, 0.5)
            scaled = plane * np.float32((1 - threshold) / threshold)
            second = np.maximum(second, np.minimum(first, scaled))
            first = np.maximum(first, scaled)
        weight = 1 - background
        close = cv2.erode(4 * first * second / np.square(first + second), _EDGE)
        near += float((weight * close).sum())
        total += float(weight.sum())
    return near / total if total else 0.0


def _regions(
    result: Result, spec: CascadeSpec
) -> Iterator[tuple[tuple[float, float, float, float], FloatArray]]:
    """Yield the box of each region and its (C, h, w) probabilities, without what is outside it."""
    for box, planes in zip(result.box_xyxy, refined_planes(result, spec), strict=True):
        x0, y0, x1, y1 = (float(side) for side in box)
        if spec.region.mode == "tiles":  # the last ones reach beyond the image
            planes = planes[:, : int(y1 - y0), : int(x1 - x0)]
        yield (x0, y0, x1, y1), planes


def _foreground(planes: FloatArray) -> FloatArray:
    """Return the planes of the foreground classes; of a binary cascade it is the only plane."""
    return planes[min(1, len(planes) - 1) :]


def _difference(mask: Mask, other: Mask) -> float:
    """Return 1 - Dice of two masks over all foreground classes; two empty masks agree."""
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(other))
    same = int(np.count_nonzero((mask == other) & (mask > 0)))
    return 1 - 2 * same / total if total else 0.0
