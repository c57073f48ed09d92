"""What each method of a model says of an image, at the image's own size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foveate.runtime.agreement import without_ignored
from foveate.runtime.geometry import paste_weights
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.tiles import blend_tiles, tile_grid

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
STAGE1, CASCADE, SINGLE = "stage 1", "cascade", "single"


def methods(spec: CascadeSpec) -> tuple[str, ...]:
    """Return what a model offers: stage 1 alone and the cascade, or the single network."""
    return (SINGLE,) if spec.stage2 is None else (STAGE1, CASCADE)


@dataclass(frozen=True)
class View:
    """One image by one method, at the image's own size.

    ``mask`` is (H, W) uint8 class indices, ``foreground`` (H, W) float32 the probability of any
    class but background, ``inside`` (H, W) bool where the method looked.
    """

    mask: Mask
    foreground: FloatArray
    inside: npt.NDArray[np.bool_]


def only_labelled(view: View, truth: Mask) -> View:
    """Return a view whose mask is empty where the (H, W) truth has no label."""
    return replace(view, mask=without_ignored(view.mask, truth))


def views(result: Result, spec: CascadeSpec) -> dict[str, View]:
    """Return each method's view of an image; stage 1 is enlarged as the cascade pastes."""
    assert result.coarse is not None and result.refined is not None
    shape = result.mask.shape
    whole = np.array([[0, 0, shape[1], shape[0]]], np.float32)
    coarse = enlarge(result.coarse[None], whole, shape)
    everywhere = np.ones(shape, bool)
    if spec.stage2 is None:
        return {SINGLE: View(result.mask, foreground(coarse, spec), everywhere)}
    inside = np.zeros(shape, bool)
    for x0, y0, x1, y1 in result.box_xyxy.astype(int):
        inside[y0:y1, x0:x1] = True
    regions = result.refined.reshape(-1, spec.output_channels, *result.refined.shape[1:])
    if spec.region.mode == "tiles":
        grid, rows = tile_grid(spec.region, spec.stage2), range(shape[0])
        pasted = blend_tiles(regions, result.box_xyxy, grid, rows, shape[1])
    else:
        pasted = enlarge(regions, result.box_xyxy, shape)
    refined = foreground(pasted, spec)
    return {
        STAGE1: View(decide(coarse, spec), foreground(coarse, spec), everywhere),
        CASCADE: View(result.mask, np.where(inside, refined, np.float32(0)), inside),
    }


def enlarge(probability: FloatArray, boxes_xyxy: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return (C, H, W) float32 from (R, C, h, w) probabilities pasted on their R boxes.

    Boxes are in pixels of the (H, W) image, end exclusive. Outside them all is 0; where boxes
    overlap the greatest value stands.
    """
    full = np.zeros((probability.shape[1], *shape), np.float32)
    for region, (x0, y0, x1, y1) in zip(probability, boxes_xyxy, strict=True):
        rows = paste_weights(y0, y1, shape[0], region.shape[1])
        columns = paste_weights(x0, x1, shape[1], region.shape[2])
        np.maximum(full, rows @ region @ columns.T, out=full)
    return full


def decide(probability: FloatArray, spec: CascadeSpec) -> Mask:
    """Return (H, W) uint8 class indices of (C, H, W) probabilities."""
    if spec.binary:
        return np.asarray(probability[0] > spec.mask_threshold, np.uint8)
    return np.asarray(probability.argmax(axis=0), np.uint8)


def foreground(probability: FloatArray, spec: CascadeSpec) -> FloatArray:
    """Return (H, W) float32, the probability of any class but background, in [0, 1]."""
    value = probability[0] if spec.binary else 1 - probability[0]
    return np.asarray(np.clip(value, 0, 1), np.float32)
