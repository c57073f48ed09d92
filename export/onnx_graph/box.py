"""Find the region that stage 2 looks at inside the graph, as ``train.reference.geometry`` does."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from foveate.export.onnx_graph.resample import Axis, Plane, Span
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec, Region, Size
from foveate.train.reference.geometry import ROUND_SIDE, ROUND_START


def find_box(w: GraphWriter, spec: CascadeSpec, crop: Size, foreground: str, image: Plane) -> str:
    """Return (N, 4) xyxy boxes; see ``foveate.train.reference.geometry.find_box``."""
    region = spec.region
    opened = _opened(w, w.op("Unsqueeze", foreground, w.ints(1)), region.opening, spec.stage1)
    opened = w.op("Squeeze", opened, w.ints(1))
    threshold = w.constant(region.threshold)
    blocks, cells = (
        w.op("Cast", w.op("Greater", plane, threshold), to=TensorProto.FLOAT)
        for plane in (opened, foreground)
    )
    any_block = w.op("ReduceMax", blocks, w.ints(1, 2), keepdims=1)
    no_block = w.op("Sub", w.constant(1.0), any_block)
    marked = w.op("Add", w.op("Mul", blocks, any_block), w.op("Mul", cells, no_block))
    spans = []
    for axis, other, count in (
        (image.rows, 2, spec.stage1.height),
        (image.columns, 1, spec.stage1.width),
    ):
        line = w.op("ReduceMax", marked, w.ints(other), keepdims=0)
        spans.append(_axis_span(w, line, axis, count))
    widen = w.constant(1 + 2 * region.margin)
    zooms = []
    minima = (region.min_height, region.min_width)
    for (start, stop), least, full in zip(spans, minima, (crop.height, crop.width), strict=True):
        side = w.op("Mul", w.op("Sub", stop, start), widen)
        side = w.op("Max", side, w.constant(float(least)))
        zooms.append(w.op("Div", side, w.constant(float(full))))
    zoom = w.op("Max", *zooms)
    top, bottom = _place(w, spans[0], w.op("Mul", zoom, w.constant(float(crop.height))), image.rows)
    left, right = _place(
        w, spans[1], w.op("Mul", zoom, w.constant(float(crop.width))), image.columns
    )
    return w.op("Concat", left, top, right, bottom, axis=1)


def _opened(w: GraphWriter, plane: str, side: int, size: Size) -> str:
    """Return (N, 1, h1, w1): the morphological opening by a square, one axis after the other."""
    windows = [min(side, size.height), 1], [1, min(side, size.width)]
    plane = w.op("Neg", plane)
    for window in windows:
        plane = w.op("MaxPool", plane, kernel_shape=window, strides=[1, 1])
    plane = w.op("Neg", plane)
    for window in windows:
        pads = [window[0] - 1, window[1] - 1] * 2
        plane = w.op("MaxPool", plane, kernel_shape=window, strides=[1, 1], pads=pads)
    return plane


def _axis_span(w: GraphWriter, line: str, axis: Axis, count: int) -> Span:
    """Return first and last + 1 marked cell of (N, count) in pixels, (N, 1)."""
    index = np.arange(count, dtype=np.float32)
    cells = w.constant(float(count))
    unmarked = w.op("Sub", w.constant(1.0), line)
    found = w.op("ReduceMax", line, w.ints(1), keepdims=1)
    missing = w.op("Sub", w.constant(1.0), found)
    far = w.op("Add", w.op("Mul", w.array(index), line), w.op("Mul", cells, unmarked))
    first = w.op("Mul", w.op("ReduceMin", far, w.ints(1), keepdims=1), found)
    near = w.op("Mul", w.array(index + np.float32(1)), line)
    last = w.op("Mul", w.op("ReduceMax", near, w.ints(1), keepdims=1), found)
    last = w.op("Add", last, w.op("Mul", cells, missing))
    return (
        w.op("Div", w.op("Mul", first, axis.size), cells),
        w.op("Div", w.op("Mul", last, axis.size), cells),
    )


def _place(w: GraphWriter, span: Span, side: str, axis: Axis) -> Span:
    """Return start and stop of an interval of whole pixels around a span's centre, (N, 1)."""
    centre = w.op("Div", w.op("Add", *span), w.constant(2.0))
    side = w.op("Ceil", w.op("Sub", side, w.constant(ROUND_SIDE)))
    side = w.op("Min", side, axis.size)
    start = w.op("Sub", centre, w.op("Div", side, w.constant(2.0)))
    start = w.op("Floor", w.op("Add", start, w.constant(ROUND_START)))
    start = w.op("Max", start, w.constant(0.0))
    start = w.op("Min", start, w.op("Sub", axis.size, side))
    return start, w.op("Add", start, side)


def whole_box(w: GraphWriter, image: Plane) -> str:
    """Return (N, 4) boxes that are the whole image."""
    zero = w.constant(0.0)
    box = w.op("Concat", zero, zero, image.columns.size, image.rows.size, axis=0)
    return w.op("Expand", box, w.op("Concat", w.op("Shape", image.numbers), w.ints(4), axis=0))


def box_spans(w: GraphWriter, box: str) -> tuple[Span, Span]:
    """Return (top, bottom) and (left, right) of (N, 4) boxes, each (N, 1, 1, 1)."""
    deep = w.op("Unsqueeze", box, w.ints(2, 3))
    left, top, right, bottom = (
        w.op("Slice", deep, w.ints(index), w.ints(index + 1), w.ints(1)) for index in range(4)
    )
    return (top, bottom), (left, right)


def least_box(region: Region, crop: Size) -> Size:
    """Return the smallest box that an image can have which is at least that large itself."""
    zoom = max(region.min_height / crop.height, region.min_width / crop.width)
    height, width = (math.ceil(zoom * side - ROUND_SIDE) for side in (crop.height, crop.width))
    return Size(max(1, height), max(1, width))
