"""Put probabilities back into the image with the geometry that made the mask, and draw them."""

from __future__ import annotations

from collections.abc import Iterator

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
    first = refined_planes(result, spec)[:, :1]
    foreground = np.float32(255) * (first if spec.binary else np.float32(1) - first)
    picture = np.zeros(result.mask.shape, np.uint8)
    for place, values in pasted_bands(foreground, result, spec):
        picture[place] = values[0] + np.float32(0.5)
    return picture


def refined_planes(result: Result, spec: CascadeSpec) -> FloatArray:
    """Return the last stage's (R, C, h2, w2) probabilities; ValueError where it has none."""
    if result.refined is None:
        raise ValueError(
            "the result has no probabilities; call the cascade with probabilities=True"
        )
    return result.refined.reshape(-1, spec.output_channels, *result.refined.shape[1:])


def pasted_bands(
    planes: FloatArray, result: Result, spec: CascadeSpec
) -> Iterator[tuple[tuple[slice, slice], FloatArray]]:
    """Yield bands of (R, C, h2, w2) planes put back into the image as the graph does it.

    Each is its rows and columns in the image, and (C, rows, columns) float32. Outside all bands
    the planes are 0.
    """
    height, width = result.mask.shape
    if spec.region.mode == "tiles":
        assert spec.stage2 is not None
        grid = tile_grid(spec.region, spec.stage2)
        for top in range(0, height, _BAND):
            lines = range(top, min(top + _BAND, height))
            blended = blend_tiles(planes, result.box_xyxy, grid, lines, width)
            yield (slice(top, lines.stop), slice(0, width)), blended
        return
    x0, y0, x1, y1 = (float(value) for value in result.box_xyxy[0])
    rows, row_cells, row_weights = paste_taps(y0, y1, height, planes.shape[2])
    columns, cells, weights = paste_taps(x0, x1, width, planes.shape[3])
    wide = [np.ascontiguousarray(_mixed(plane.T, cells, weights).T) for plane in planes[0]]
    for top in range(0, len(row_cells), _BAND):
        band = slice(top, top + _BAND)
        values = [_mixed(plane, row_cells[band], row_weights[band]) for plane in wide]
        yield (
            (slice(rows.start + top, rows.start + top + len(values[0])), columns),
            np.stack(values),
        )


def _mixed(lines: FloatArray, cells: npt.NDArray[np.intp], weights: FloatArray) -> FloatArray:
    """Return, for every row of ``cells``, the sum of those lines, each times its weight."""
    mixed = lines[cells[:, 0]] * weights[:, :1]
    for tap in range(1, cells.shape[1]):
        mixed += lines[cells[:, tap]] * weights[:, tap : tap + 1]
    return mixed
