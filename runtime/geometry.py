"""Resize, crop and paste as matrix products with triangle-filter weights (numpy).

The same weights are computed inside the exported graph and in the PyTorch reference. The
triangle filter widened by the scale is the antialiased bilinear resize of Pillow and of
``torch.nn.functional.interpolate(antialias=True)``. Coordinates are pixels of the axis, pixel i
covering [i, i + 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def crop_weights(start: float, stop: float, size: int, count: int) -> FloatArray:
    """Return (count, size) float32 rows that resample [start, stop) of an axis to count cells.

    Rows sum to 1. The interval must lie inside [0, size].
    """
    scale = np.float32((stop - start) / count)
    centres = np.float32(start) + (np.arange(count, dtype=np.float32) + np.float32(0.5)) * scale
    pixels = np.arange(size, dtype=np.float32) + np.float32(0.5)
    distance = np.abs(pixels - centres[:, None]) / np.maximum(scale, np.float32(1))
    weights = np.maximum(np.float32(1) - distance, np.float32(0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def paste_weights(start: float, stop: float, size: int, count: int) -> FloatArray:
    """Return (size, count) float32 rows that put count cells back on [start, stop) of an axis.

    Rows of pixels whose centre is outside the interval are zero; the others sum to 1.
    """
    scale = np.float32((stop - start) / count)
    cells = (np.arange(size, dtype=np.float32) + np.float32(0.5) - np.float32(start)) / scale
    centres = np.arange(count, dtype=np.float32) + np.float32(0.5)
    radius = np.maximum(np.float32(1) / scale, np.float32(1))
    weights = np.maximum(np.float32(1) - np.abs(cells[:, None] - centres) / radius, np.float32(0))
    inside = ((cells >= 0) & (cells < count)).astype(np.float32)
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-6))
    return np.asarray(weights / total * inside[:, None], dtype=np.float32)


def crop(
    image: npt.NDArray[np.generic],
    box_xyxy: tuple[float, float, float, float],
    height: int,
    width: int,
) -> FloatArray:
    """Return the box of a (..., H, W) image resampled to (..., height, width) float32.

    The values keep their unit. Only the pixels under the filter are read.
    """
    x0, y0, x1, y1 = box_xyxy
    rows, used_rows = _window(y0, y1, image.shape[-2], height)
    columns, used_columns = _window(x0, x1, image.shape[-1], width)
    window = image[..., used_rows, used_columns].astype(np.float32)
    return np.asarray(rows @ window @ columns.T, dtype=np.float32)


def _window(start: float, stop: float, size: int, count: int) -> tuple[FloatArray, slice]:
    """Return the weights of an interval over the pixels that its filter reaches, and which."""
    reach = int(np.ceil(max((stop - start) / count, 1.0)))
    first = max(0, int(np.floor(start)) - reach)
    last = min(size, int(np.ceil(stop)) + reach)
    return crop_weights(start - first, stop - first, last - first, count), slice(first, last)


def paste_taps(
    start: float, stop: float, size: int, count: int
) -> tuple[slice, npt.NDArray[np.intp], FloatArray]:
    """Return the rows of ``paste_weights`` without their zeros.

    They are the pixels inside the interval, and for each of them the cells under its triangle,
    (pixels, taps), and the weights of these cells.
    """
    scale = np.float32((stop - start) / count)
    cells = (np.arange(size, dtype=np.float32) + np.float32(0.5) - np.float32(start)) / scale
    first, last = (int(index) for index in np.searchsorted(cells, (0, count)))
    cells = cells[first:last, None]
    radius = np.maximum(np.float32(1) / scale, np.float32(1))
    lowest = np.floor(cells - np.float32(0.5) - radius) + np.float32(1)
    taps = lowest + np.arange(int(np.ceil(2 * radius)), dtype=np.float32)
    distance = np.abs(cells - (taps + np.float32(0.5))) / radius
    weights = np.maximum(np.float32(1) - distance, np.float32(0)) * ((taps >= 0) & (taps < count))
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-6))
    indices = np.clip(taps, 0, count - 1).astype(np.intp)
    return slice(first, last), indices, np.asarray(weights / total, dtype=np.float32)
