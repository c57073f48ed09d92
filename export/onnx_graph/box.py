"""Find the region that stage 2 looks at inside the graph, as ``train.reference.geometry`` does."""

from __future__ import annotations

import math

import numpy as np

from foveate.export.onnx_graph.resample import Axis, Plane, Span
from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.spec import CascadeSpec, Region, Size
from foveate.train.reference.geometry import ROUND_SIDE, ROUND_START


def find_box(
    w: GraphWriter, spec: CascadeSpec, crop: Size, foreground: Value, image: Plane
) -> Value:
    """Return (N, 4) xyxy boxes; see ``foveate.train.reference.geometry.find_box``."""
    region = spec.region
    opened = _opened(foreground.unsqueeze(1), region.opening, spec.stage1).squeeze(1)
    blocks, cells = ((plane > float(region.threshold)).to_float() for plane in (opened, foreground))
    any_block = blocks.reduce("Max", 1, 2, keep=True)
    no_block = 1.0 - any_block
    marked = blocks * any_block + cells * no_block
    rows = _axis_span(w, marked.reduce("Max", 2), image.rows, spec.stage1.height)
    columns = _axis_span(w, marked.reduce("Max", 1), image.columns, spec.stage1.width)
    zooms = []
    minima = (region.min_height, region.min_width)
    for (start, stop), least, full in zip(
        (rows, columns), minima, (crop.height, crop.width), strict=True
    ):
        side = (stop - start) * (1.0 + 2 * region.margin)
        zooms.append(side.maximum(float(least)) / float(full))
    zoom = zooms[0].maximum(zooms[1])
    top, bottom = _place(rows, zoom * float(crop.height), image.rows)
    left, right = _place(columns, zoom * float(crop.width), image.columns)
    return concat(left, top, right, bottom, axis=1)


def _opened(plane: Value, side: int, size: Size) -> Value:
    """Return (N, 1, h1, w1): the morphological opening by a square, one axis after the other."""
    windows = [min(side, size.height), 1], [1, min(side, size.width)]
    plane = plane.op("Neg")
    for window in windows:
        plane = plane.op("MaxPool", kernel_shape=window, strides=[1, 1])
    plane = plane.op("Neg")
    for window in windows:
        pads = [window[0] - 1, window[1] - 1] * 2
        plane = plane.op("MaxPool", kernel_shape=window, strides=[1, 1], pads=pads)
    return plane


def _axis_span(w: GraphWriter, line: Value, axis: Axis, count: int) -> Span:
    """Return first and last + 1 marked cell of (N, count) in pixels, (N, 1)."""
    index = np.arange(count, dtype=np.float32)
    cells = w.constant(float(count))
    unmarked = 1.0 - line
    found = line.reduce("Max", 1, keep=True)
    missing = 1.0 - found
    far = w.array(index) * line + cells * unmarked
    first = far.reduce("Min", 1, keep=True) * found
    near = w.array(index + np.float32(1)) * line
    last = near.reduce("Max", 1, keep=True) * found + cells * missing
    return first * axis.size / cells, last * axis.size / cells


def _place(span: Span, side: Value, axis: Axis) -> Span:
    """Return start and stop of an interval of whole pixels around a span's centre, (N, 1)."""
    centre = (span[0] + span[1]) / 2.0
    side = (side - ROUND_SIDE).op("Ceil").minimum(axis.size)
    start = (centre - side / 2.0 + ROUND_START).op("Floor")
    start = start.maximum(0.0).minimum(axis.size - side)
    return start, start + side


def whole_box(w: GraphWriter, image: Plane) -> Value:
    """Return (N, 4) boxes that are the whole image."""
    zero = w.constant(0.0)
    box = concat(zero, zero, image.columns.size, image.rows.size, axis=0)
    return box.op("Expand", concat(image.numbers.op("Shape"), w.ints(4), axis=0))


def box_spans(box: Value) -> tuple[Span, Span]:
    """Return (top, bottom) and (left, right) of (N, 4) boxes, each (N, 1, 1, 1)."""
    deep = box.unsqueeze(2, 3)
    left, top, right, bottom = (deep.slice(index, index + 1, 1) for index in range(4))
    return (top, bottom), (left, right)


def least_box(region: Region, crop: Size) -> Size:
    """Return the smallest box that an image can have which is at least that large itself."""
    zoom = max(region.min_height / crop.height, region.min_width / crop.width)
    height, width = (math.ceil(zoom * side - ROUND_SIDE) for side in (crop.height, crop.width))
    return Size(max(1, height), max(1, width))
