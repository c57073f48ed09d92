"""Draw the foreground probability, with the geometry that made the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveate.runtime.geometry import FloatArray, paste_taps
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.tiles import blend_tiles, tile_grid

_BAND = 64
"""Lines made at a time: a few megabytes, whatever the height of the image."""


def probability_picture(result: Result, spec: CascadeSpec) -> npt.NDArray[np.uint8]:
    """Return (H, W) uint8, 255 times the last stage's foreground probability, rounded.

    Inside the box or the tiles it is ``refined`` put back as the graph does it, outside 0.
    Foreground is whatever is not background. The result must have been asked for with its
    probabilities.
    """
    if result.refined is None:
        raise ValueError(
            "the result has no probabilities; call the cascade with probabilities=True"
        )
    if spec.region.mode == "tiles":
        return _tiled_picture(result.refined, result, spec)
    foreground = result.refined[0] if spec.binary else np.float32(1) - result.refined[0]
    height, width = result.mask.shape
    x0, y0, x1, y1 = (float(value) for value in result.box_xyxy[0])
    rows, row_cells, row_weights = paste_taps(y0, y1, height, foreground.shape[0])
    columns, cells, weights = paste_taps(x0, x1, width, foreground.shape[1])
    wide = _mixed((foreground * np.float32(255)).T, cells, weights).T
    wide = np.ascontiguousarray(wide)
    picture = np.zeros((height, width), np.uint8)
    inside = picture[rows, columns]
    for top in range(0, len(inside), _BAND):
        band = slice(top, top + _BAND)
        inside[band] = _mixed(wide, row_cells[band], row_weights[band]) + np.float32(0.5)
    return picture


def _tiled_picture(refined: FloatArray, result: Result, spec: CascadeSpec) -> npt.NDArray[np.uint8]:
    assert spec.stage2 is not None
    grid = tile_grid(spec.region, spec.stage2)
    first = refined.reshape(-1, spec.channels, *refined.shape[1:])[:, :1]
    foreground = np.float32(255) * (first if spec.binary else np.float32(1) - first)
    height, width = result.mask.shape
    picture = np.zeros((height, width), np.uint8)
    for top in range(0, height, _BAND):
        rows = range(top, min(top + _BAND, height))
        blended = blend_tiles(foreground, result.box_xyxy, grid, rows, width)[0]
        picture[top : rows.stop] = blended + np.float32(0.5)
    return picture


def _mixed(lines: FloatArray, cells: npt.NDArray[np.intp], weights: FloatArray) -> FloatArray:
    """Return, for every row of ``cells``, the sum of those lines, each times its weight."""
    mixed = lines[cells[:, 0]] * weights[:, :1]
    for tap in range(1, cells.shape[1]):
        mixed += lines[cells[:, tap]] * weights[:, tap : tap + 1]
    return mixed
