"""The geometry of the cascade in PyTorch: the matrices, the box, and cropping and pasting by them.

Step by step what the exported graph computes, batched over boxes, in float32.
``foveate.runtime.geometry`` is the same filter for one box in numpy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from foveate.runtime.spec import Region, Size

ROUND_START = 0.4
"""Added before the floor of a box's start: half-pixel ties are common and stay off the edge."""
ROUND_SIDE = 0.01
"""Taken off before the ceiling of a box's side, against float noise above a whole number."""


def crop_weights(start: Tensor, stop: Tensor, size: int, count: int) -> Tensor:
    """Return (N, count, size) rows that resample [start, stop) of an axis to ``count`` cells."""
    scale = ((stop - start) / count)[:, None]
    centres = start[:, None] + (torch.arange(count) + 0.5) * scale
    pixels = torch.arange(size) + 0.5
    distance = (pixels - centres[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=2, keepdim=True)


def paste_weights(start: Tensor, stop: Tensor, size: int, count: int) -> Tensor:
    """Return (N, size, count) rows that put cells back; zero for pixels outside [start, stop)."""
    scale = ((stop - start) / count)[:, None]
    cells = (torch.arange(size) + 0.5 - start[:, None]) / scale
    centres = torch.arange(count) + 0.5
    radius = (1 / scale).clamp(min=1)[:, :, None]
    weights = (1 - (cells[:, :, None] - centres).abs() / radius).clamp(min=0)
    inside = ((cells >= 0) & (cells < count)).float()[:, :, None]
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6) * inside


def find_box(foreground: Tensor, height: int, width: int, region: Region, crop: Size) -> Tensor:
    """Return (N, 4) xyxy boxes in pixels of the full image, whole numbers, end exclusive.

    ``foreground`` is (N, h1, w1), stage 1's probability of any foreground. Cells above the
    threshold count where they fill a square of ``region.opening`` cells, so a stray cell moves
    nothing; where no square is, single cells count; where none is, the whole image is the region.
    """
    marked = mark(foreground, opened(foreground, region.opening), region.threshold)
    return box_around(marked, height, width, region, crop)


def opened(foreground: Tensor, side: int) -> Tensor:
    """Return (N, h1, w1): the morphological opening by a square of ``side`` cells."""
    rows, columns = foreground.shape[1:]
    tall, wide = (min(side, rows), 1), (1, min(side, columns))
    plane = -foreground[:, None]
    for window in (tall, wide):
        plane = functional.max_pool2d(plane, window, stride=1)
    plane = functional.pad(-plane, (wide[1] - 1,) * 2 + (tall[0] - 1,) * 2)
    for window in (tall, wide):
        plane = functional.max_pool2d(plane, window, stride=1)
    return plane[:, 0]


def mark(foreground: Tensor, plane: Tensor, threshold: float) -> Tensor:
    """Return (N, h1, w1) of 0 and 1: the cells the box must hold; ``plane`` is the opened one."""
    blocks = (plane > threshold).float()
    cells = (foreground > threshold).float()
    any_block = blocks.amax(dim=(1, 2), keepdim=True)
    return blocks * any_block + cells * (1 - any_block)


def box_around(marked: Tensor, height: int, width: int, region: Region, crop: Size) -> Tensor:
    """Return (N, 4) xyxy boxes around the marked cells, with margin, of the shape of the crop."""
    y0, y1 = _axis_span(marked.amax(dim=2), height, marked.shape[1])
    x0, x1 = _axis_span(marked.amax(dim=1), width, marked.shape[2])
    widen = 1 + 2 * region.margin
    side_y = ((y1 - y0) * widen).clamp(min=float(region.min_height))
    side_x = ((x1 - x0) * widen).clamp(min=float(region.min_width))
    zoom = torch.maximum(side_y / crop.height, side_x / crop.width)
    top, bottom = _place((y0 + y1) / 2, zoom * crop.height, height)
    left, right = _place((x0 + x1) / 2, zoom * crop.width, width)
    return torch.stack([left, top, right, bottom], dim=1)


def _axis_span(marked: Tensor, size: int, count: int) -> tuple[Tensor, Tensor]:
    """Return first and last + 1 marked cell of (N, count) in pixels; the whole axis if none."""
    index = torch.arange(count, dtype=torch.float32)
    found = marked.amax(dim=1)
    first = (index * marked + count * (1 - marked)).amin(dim=1) * found
    last = ((index + 1) * marked).amax(dim=1) * found + count * (1 - found)
    return first * size / count, last * size / count


def _place(centre: Tensor, side: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return start and stop of an interval of whole pixels around ``centre`` inside [0, size]."""
    side = torch.ceil(side - ROUND_SIDE).clamp(max=float(size))
    start = torch.floor(centre - side / 2 + ROUND_START)
    start = torch.minimum(start.clamp(min=0), size - side)
    return start, start + side


def crop_box(image: Tensor, box: Tensor, size: Size) -> Tensor:
    """Return (N, height, width) resampled from (N, H, W) inside (N, 4) xyxy boxes of its pixels.

    (N, C, height, width) from (N, C, H, W).
    """
    rows = crop_weights(box[:, 1], box[:, 3], image.shape[-2], size.height)
    columns = crop_weights(box[:, 0], box[:, 2], image.shape[-1], size.width).transpose(1, 2)
    if image.ndim == 4:
        rows, columns = rows[:, None], columns[:, None]
    return rows @ image @ columns


def paste_box(probability: Tensor, box: Tensor, height: int, width: int) -> Tensor:
    """Return (N, C, H, W) with (N, C, h2, w2) put back into its box, zero elsewhere."""
    rows = paste_weights(box[:, 1], box[:, 3], height, probability.shape[2])
    columns = paste_weights(box[:, 0], box[:, 2], width, probability.shape[3])
    return rows[:, None] @ probability @ columns.transpose(1, 2)[:, None]


def whole_box(count: int, height: int, width: int) -> Tensor:
    """Return (count, 4) boxes that are the whole image."""
    return torch.tensor([[0.0, 0.0, float(width), float(height)]]).repeat(count, 1)


def pad_to_multiple(plane: Tensor, multiple: int) -> Tensor:
    """Return (..., H, W) with zeros below and at the right, sides multiples of ``multiple``."""
    height, width = plane.shape[-2:]
    return functional.pad(plane, (0, -width % multiple, 0, -height % multiple))
