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

DENSE_PIXELS = 1 << 20
"""Boxes of more pixels than this are resampled in bands of ``BAND`` rows of the result.

The same but for the last bits of a float32, in a half to a third of the time and less memory.
"""
BAND = 16


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
    label: int | None = None,
) -> FloatArray:
    """Return the box of a (..., H, W) image resampled to (..., height, width) float32.

    The values keep their unit; with a ``label`` they are the share of each cell that pixels of this
    value cover. Only the pixels under the filter are read, so the image may be a memory map; a box
    of more than DENSE_PIXELS is read band by band.
    """
    x0, y0, x1, y1 = box_xyxy
    rows, used_rows = _window(y0, y1, image.shape[-2], height)
    columns, used_columns = _window(x0, x1, image.shape[-1], width)
    window = image[..., used_rows, used_columns]
    large = window.shape[-2] * window.shape[-1] > DENSE_PIXELS
    parts = []
    for start in range(0, height, BAND if large else height):
        band = rows[start : start + BAND] if large else rows
        seen = _reached(band) if large else slice(None)
        pixels = window[..., seen, :]
        if label is not None:
            pixels = pixels == label
        parts.append(band[:, seen] @ pixels.astype(np.float32, "C") @ columns.T)
    return np.asarray(np.concatenate(parts, axis=-2), dtype=np.float32)


def _reached(weights: FloatArray) -> slice:
    """Return the columns of (count, size) weights that are not all zero; they are neighbours."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)


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
