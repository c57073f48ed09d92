"""The fused cascade graph, written operator by operator (ONNX opset 18).

The same steps as ``foveate.train.cascade`` and ``foveate.train.geometry``, in the same order, in
float32; the networks alone may be float16, between explicit casts. N, H and W are dynamic.
Tensor names of the contract: ``image`` -> ``mask, box, score, coarse, refined``, and inside
``stage1_input, stage1_logits, stage2_input, stage2_logits``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

import foveate
from foveate.export.operators import GraphWriter
from foveate.export.precision import network_nodes
from foveate.export.tile_blend import blend_tiles, tile_score, tile_weights
from foveate.export.tile_hints import crop_hints
from foveate.export.tiles import choose_tiles, crop_tiles, tile_boxes
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.cascade import STD_FLOOR
from foveate.train.geometry import ROUND_SIDE, ROUND_START

OPSET = 18
IR_VERSION = 9
OUTPUTS = ("mask", "box", "score", "coarse", "refined")
_TINY = 1e-6


@dataclass(frozen=True)
class Axis:
    """One axis of the image inside the graph: its size as float32 (1,) and its pixel centres."""

    size: str
    centres: str


def cascade_model(
    spec: CascadeSpec, stage1: nn.Module, stage2: nn.Module | None, precision: str
) -> onnx.ModelProto:
    """Return the fused graph of a cascade.

    ``stage1`` and ``stage2`` are networks in evaluation mode whose BatchNorm is folded (see
    ``precision.folded``): U-Nets, or a single convolution. ``precision`` is fp32 or fp16.
    """
    w = GraphWriter()
    pixels = _float_image(w, spec)
    rows, columns = _axes(w, pixels)
    if spec.pad_multiple:
        _network_at_own_size(w, spec, stage1, pixels, precision)
        whole = _whole_box(w, pixels, rows, columns)
        w.op("Unsqueeze", whole, w.ints(1), name="box")
        refined = w.op("Identity", "coarse", name="refined")
        _decide(w, spec, refined, spec.mask_threshold)
        _score(w, spec, refined)
        return _model(w, spec, precision)
    small = _resize_whole(w, pixels, rows, columns, spec.stage1)
    small = w.op("Mul", small, w.constant(1 / spec.full_scale))
    mean, std = _statistics(w, spec, small)
    normal = w.op("Div", w.op("Sub", small, mean), std)
    w.op("Unsqueeze", normal, w.ints(1), name="stage1_input")
    network_nodes(w, stage1, "stage1_input", "stage1_logits", "stage1", precision)
    _probabilities(w, spec, "stage1_logits", "coarse")
    if spec.stage2 is None or stage2 is None:
        whole = _whole_box(w, pixels, rows, columns)
        refined = w.op("Identity", "coarse", name="refined")
        box_rows, box_columns = _box_sides(w, whole)
    elif spec.region.mode == "tiles":
        _in_tiles(w, spec, stage2, pixels, (mean, std), precision)
        return _model(w, spec, precision)
    else:
        foreground = _foreground(w, spec)
        whole = _find_box(w, spec, spec.stage2, foreground, rows, columns)
        box_rows, box_columns = _box_sides(w, whole)
        crop = _crop(w, pixels, box_rows, box_columns, rows.centres, columns.centres, spec.stage2)
        crop = w.op("Mul", crop, w.constant(1 / spec.full_scale))
        crop = w.op("Div", w.op("Sub", crop, mean), std)
        hint = _crop_hint(w, spec, spec.stage2, foreground, box_rows, box_columns, rows, columns)
        channels = [w.op("Unsqueeze", part, w.ints(1)) for part in (crop, hint)]
        w.op("Concat", *channels, name="stage2_input", axis=1)
        network_nodes(w, stage2, "stage2_input", "stage2_logits", "stage2", precision)
        refined = _probabilities(w, spec, "stage2_logits", "refined")
    w.op("Unsqueeze", whole, w.ints(1), name="box")
    size = spec.stage2 or spec.stage1
    pasted = _paste(w, refined, box_rows, box_columns, rows, columns, size)
    _decide(w, spec, pasted, spec.mask_threshold)
    _score(w, spec, refined)
    return _model(w, spec, precision)


def _in_tiles(
    w: GraphWriter,
    spec: CascadeSpec,
    stage2: nn.Module,
    pixels: str,
    normal: tuple[str, str],
    precision: str,
) -> None:
    """Write all that follows ``coarse`` where stage 2 looks at tiles."""
    assert spec.stage2 is not None
    foreground = _foreground(w, spec)
    tiles = choose_tiles(w, spec, pixels, foreground)
    tile_boxes(w, tiles)
    mean, std = (w.op("Unsqueeze", part, w.ints(-1)) for part in normal)
    crop = w.op("Mul", crop_tiles(w, pixels, tiles), w.constant(1 / spec.full_scale))
    crop = w.op("Div", w.op("Sub", crop, mean), std)
    hint = crop_hints(w, spec, foreground, tiles)
    channels = [w.op("Unsqueeze", part, w.ints(2)) for part in (crop, hint)]
    sides = w.ints(-1, 2, spec.stage2.height, spec.stage2.width)
    w.op("Reshape", w.op("Concat", *channels, axis=2), sides, name="stage2_input")
    network_nodes(w, stage2, "stage2_input", "stage2_logits", "stage2", precision)
    refined = _probabilities(w, spec, "stage2_logits", "refined")
    weights = tile_weights(w, tiles)
    votes = w.op("Sub", refined, w.constant(spec.mask_threshold)) if spec.binary else refined
    _decide(w, spec, blend_tiles(w, votes, weights, spec.channels, tiles), 0.0)
    tile_score(w, *_winning(w, spec, refined), weights, tiles)


def _network_at_own_size(
    w: GraphWriter, spec: CascadeSpec, network: nn.Module, pixels: str, precision: str
) -> None:
    """Write ``coarse``, as large as the image: zero padding, the network, the padding cut off."""
    scaled = w.op("Mul", pixels, w.constant(1 / spec.full_scale))
    mean, std = _statistics(w, spec, scaled)
    normal = w.op("Unsqueeze", w.op("Div", w.op("Sub", scaled, mean), std), w.ints(1))
    sides = w.op("Slice", w.op("Shape", pixels), w.ints(1), w.ints(3), w.ints(0))
    multiple = w.ints(spec.pad_multiple)
    times = w.op("Div", w.op("Add", sides, w.ints(spec.pad_multiple - 1)), multiple)
    missing = w.op("Sub", w.op("Mul", times, multiple), sides)
    pads = w.op("Concat", w.ints(0, 0, 0, 0, 0, 0), missing, axis=0)
    w.op("Pad", normal, pads, name="stage1_input")
    network_nodes(w, network, "stage1_input", "stage1_logits", "stage1", precision)
    zeros = w.ints(0, 0)
    logits = w.op("Slice", "stage1_logits", zeros, sides, w.ints(2, 3))
    _probabilities(w, spec, logits, "coarse")


def _float_image(w: GraphWriter, spec: CascadeSpec) -> str:
    """Return (N, H, W) float32 in the unit of the files."""
    pixels = w.op("Cast", "image", to=TensorProto.FLOAT)
    if spec.input_type == "uint8":
        return pixels
    bytes_to_value = w.array(np.array([[1.0], [256.0]], np.float32))
    return w.op("Squeeze", w.op("MatMul", pixels, bytes_to_value), w.ints(3))


def _axes(w: GraphWriter, pixels: str) -> tuple[Axis, Axis]:
    """Return the row and the column axis of (N, H, W) pixels."""
    shape = w.op("Cast", w.op("Shape", pixels), to=TensorProto.FLOAT)
    axes = []
    for index in (1, 2):
        size = w.op("Gather", shape, w.ints(index), axis=0)
        scalar = w.op("Squeeze", size, w.ints(0))
        steps = w.op("Range", w.scalar(0.0), scalar, w.scalar(1.0))
        axes.append(Axis(size, w.op("Add", steps, w.constant(0.5))))
    return axes[0], axes[1]


def _crop_weights(w: GraphWriter, start: str, stop: str, centres: str, count: int) -> str:
    """Return (N, count, size) rows that resample [start, stop), each (N, 1, 1), to count cells."""
    scale = w.op("Div", w.op("Sub", stop, start), w.constant(float(count)))
    steps = w.array((np.arange(count, dtype=np.float32) + np.float32(0.5)).reshape(1, count, 1))
    cells = w.op("Add", start, w.op("Mul", steps, scale))
    radius = w.op("Max", scale, w.constant(1.0))
    return _triangle(w, w.op("Sub", centres, cells), radius)


def _triangle(w: GraphWriter, offset: str, radius: str | None, floor: bool = False) -> str:
    """Return max(0, 1 - |offset| / radius), each row divided by its sum."""
    distance = w.op("Abs", offset)
    if radius is not None:
        distance = w.op("Div", distance, radius)
    weights = w.op("Max", w.op("Sub", w.constant(1.0), distance), w.constant(0.0))
    total = w.op("ReduceSum", weights, w.ints(2), keepdims=1)
    if floor:
        total = w.op("Max", total, w.constant(_TINY))
    return w.op("Div", weights, total)


def _resize_whole(w: GraphWriter, pixels: str, rows: Axis, columns: Axis, size: Size) -> str:
    """Return (N, h1, w1): the whole image, antialiased."""
    zero = w.array(np.zeros((1, 1, 1), np.float32))
    sides = [w.op("Reshape", axis.size, w.ints(1, 1, 1)) for axis in (rows, columns)]
    return _crop(w, pixels, (zero, sides[0]), (zero, sides[1]), rows.centres, columns.centres, size)


def _crop(
    w: GraphWriter,
    pixels: str,
    row_span: tuple[str, str],
    column_span: tuple[str, str],
    row_centres: str,
    column_centres: str,
    size: Size,
) -> str:
    """Return (N, h, w): a span of rows and columns of (N, H, W), resampled."""
    rows = _crop_weights(w, *row_span, row_centres, size.height)
    columns = _crop_weights(w, *column_span, column_centres, size.width)
    half = w.op("MatMul", rows, pixels)
    return w.op("MatMul", half, w.op("Transpose", columns, perm=[0, 2, 1]))


def _statistics(w: GraphWriter, spec: CascadeSpec, small: str) -> tuple[str, str]:
    """Return mean and deviation, (N, 1, 1) or a constant, in units of the full scale."""
    if spec.normalisation.mode == "constants":
        return w.constant(spec.normalisation.mean), w.constant(spec.normalisation.std)
    mean = _mean(w, small)
    apart = w.op("Sub", small, mean)
    variance = _mean(w, w.op("Mul", apart, apart))
    return mean, w.op("Max", w.op("Sqrt", variance), w.constant(STD_FLOOR))


def _mean(w: GraphWriter, plane: str) -> str:
    """Return (N, 1, 1), the mean of (N, h, w): row by row, then of the rows.

    Engines add up in float32, some one value after the other: over a million pixels at once the
    mean was off by 0.004 deviations in ONNX Runtime.
    """
    rows = w.op("ReduceMean", plane, w.ints(2), keepdims=1)
    return w.op("ReduceMean", rows, w.ints(1), keepdims=1)


def _probabilities(w: GraphWriter, spec: CascadeSpec, logits: str, name: str) -> str:
    if spec.binary:
        return w.op("Sigmoid", logits, name=name)
    return w.op("Softmax", logits, name=name, axis=1)


def _foreground(w: GraphWriter, spec: CascadeSpec) -> str:
    """Return (N, h1, w1): stage 1's probability of any foreground."""
    first = w.op("Slice", "coarse", w.ints(0), w.ints(1), w.ints(1))
    first = w.op("Squeeze", first, w.ints(1))
    return first if spec.binary else w.op("Sub", w.constant(1.0), first)


def _find_box(
    w: GraphWriter, spec: CascadeSpec, crop: Size, foreground: str, rows: Axis, columns: Axis
) -> str:
    """Return (N, 4) xyxy boxes; see ``foveate.train.geometry.find_box``."""
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
    for axis, other, count in ((rows, 2, spec.stage1.height), (columns, 1, spec.stage1.width)):
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
    top, bottom = _place(w, spans[0], w.op("Mul", zoom, w.constant(float(crop.height))), rows)
    left, right = _place(w, spans[1], w.op("Mul", zoom, w.constant(float(crop.width))), columns)
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


def _axis_span(w: GraphWriter, line: str, axis: Axis, count: int) -> tuple[str, str]:
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


def _place(w: GraphWriter, span: tuple[str, str], side: str, axis: Axis) -> tuple[str, str]:
    """Return start and stop of an interval of whole pixels around a span's centre, (N, 1)."""
    centre = w.op("Div", w.op("Add", *span), w.constant(2.0))
    side = w.op("Ceil", w.op("Sub", side, w.constant(ROUND_SIDE)))
    side = w.op("Min", side, axis.size)
    start = w.op("Sub", centre, w.op("Div", side, w.constant(2.0)))
    start = w.op("Floor", w.op("Add", start, w.constant(ROUND_START)))
    start = w.op("Max", start, w.constant(0.0))
    start = w.op("Min", start, w.op("Sub", axis.size, side))
    return start, w.op("Add", start, side)


def _whole_box(w: GraphWriter, pixels: str, rows: Axis, columns: Axis) -> str:
    """Return (N, 4) boxes that are the whole image."""
    zero = w.array(np.zeros(1, np.float32))
    box = w.op("Unsqueeze", w.op("Concat", zero, zero, columns.size, rows.size, axis=0), w.ints(0))
    count = w.op("Slice", w.op("Shape", pixels), w.ints(0), w.ints(1), w.ints(0))
    return w.op("Expand", box, w.op("Concat", count, w.ints(4), axis=0))


def _box_sides(w: GraphWriter, box: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return (top, bottom) and (left, right) of (N, 4) boxes, each (N, 1, 1)."""
    deep = w.op("Unsqueeze", box, w.ints(2))
    left, top, right, bottom = (
        w.op("Slice", deep, w.ints(index), w.ints(index + 1), w.ints(1)) for index in range(4)
    )
    return (top, bottom), (left, right)


def _crop_hint(
    w: GraphWriter,
    spec: CascadeSpec,
    crop: Size,
    foreground: str,
    box_rows: tuple[str, str],
    box_columns: tuple[str, str],
    rows: Axis,
    columns: Axis,
) -> str:
    """Return (N, h2, w2): stage 1's foreground inside the box."""
    spans, centres = [], []
    for span, axis, count in (
        (box_rows, rows, spec.stage1.height),
        (box_columns, columns, spec.stage1.width),
    ):
        scale = w.op("Div", w.constant(float(count)), axis.size)
        spans.append((w.op("Mul", span[0], scale), w.op("Mul", span[1], scale)))
        centres.append(w.array(np.arange(count, dtype=np.float32) + np.float32(0.5)))
    return _crop(w, foreground, spans[0], spans[1], centres[0], centres[1], crop)


def _paste_weights(w: GraphWriter, span: tuple[str, str], axis: Axis, count: int) -> str:
    """Return (N, size, count) rows that put cells back; zero for pixels outside the span."""
    start, stop = span
    scale = w.op("Div", w.op("Sub", stop, start), w.constant(float(count)))
    column = w.op("Unsqueeze", axis.centres, w.ints(1))
    cells = w.op("Div", w.op("Sub", column, start), scale)
    radius = w.op("Max", w.op("Div", w.constant(1.0), scale), w.constant(1.0))
    centres = w.array(np.arange(count, dtype=np.float32) + np.float32(0.5))
    weights = _triangle(w, w.op("Sub", cells, centres), radius, floor=True)
    inside = [
        w.op("Cast", w.op("GreaterOrEqual", cells, w.constant(0.0)), to=TensorProto.FLOAT),
        w.op("Cast", w.op("Less", cells, w.constant(float(count))), to=TensorProto.FLOAT),
    ]
    return w.op("Mul", weights, w.op("Mul", *inside))


def _paste(
    w: GraphWriter,
    probability: str,
    box_rows: tuple[str, str],
    box_columns: tuple[str, str],
    rows: Axis,
    columns: Axis,
    size: Size,
) -> str:
    """Return (N, C, H, W): probabilities put back into their box, zero elsewhere."""
    tall = w.op("Unsqueeze", _paste_weights(w, box_rows, rows, size.height), w.ints(1))
    wide = _paste_weights(w, box_columns, columns, size.width)
    wide = w.op("Unsqueeze", w.op("Transpose", wide, perm=[0, 2, 1]), w.ints(1))
    return w.op("MatMul", w.op("MatMul", tall, probability), wide)


def _decide(w: GraphWriter, spec: CascadeSpec, pasted: str, threshold: float) -> None:
    """Write ``mask``: the threshold when binary, else the class of the highest probability."""
    if spec.binary:
        plane = w.op("Squeeze", pasted, w.ints(1))
        label = w.op("Greater", plane, w.constant(threshold))
    else:
        label = w.op("ArgMax", pasted, axis=1, keepdims=0)
    w.op("Cast", label, name="mask", to=TensorProto.UINT8)


def _score(w: GraphWriter, spec: CascadeSpec, probability: str) -> None:
    """Write ``score``: the mean winning probability over the foreground; 0 where there is none."""
    winning, chosen = _winning(w, spec, probability)
    total = w.op("ReduceSum", w.op("Mul", winning, chosen), w.ints(1, 2), keepdims=0)
    count = w.op("ReduceSum", chosen, w.ints(1, 2), keepdims=0)
    w.op("Div", total, w.op("Max", count, w.constant(1.0)), name="score")


def _winning(w: GraphWriter, spec: CascadeSpec, probability: str) -> tuple[str, str]:
    """Return the highest probability, (N, h, w), and 1 where it is foreground, else 0."""
    if spec.binary:
        winning = w.op("Squeeze", probability, w.ints(1))
        chosen = w.op("Greater", winning, w.constant(spec.mask_threshold))
    else:
        winning = w.op("ReduceMax", probability, w.ints(1), keepdims=0)
        label = w.op("ArgMax", probability, axis=1, keepdims=0)
        chosen = w.op("Greater", w.op("Cast", label, to=TensorProto.FLOAT), w.constant(0.5))
    return winning, w.op("Cast", chosen, to=TensorProto.FLOAT)


def _model(w: GraphWriter, spec: CascadeSpec, precision: str) -> onnx.ModelProto:
    image: list[str | int] = ["N", "H", "W"] + ([2] if spec.input_type == "uint16" else [])
    crop = spec.stage2 or spec.stage1
    coarse: list[str | int] = [spec.stage1.height, spec.stage1.width]
    refined: list[str | int] = [crop.height, crop.width]
    if spec.pad_multiple:
        coarse = refined = ["H", "W"]
    regions: str | int = 1
    views = "N"
    if spec.region.mode == "tiles":
        regions, views = spec.region.tiles or "K", "N*K"
    shapes: dict[str, tuple[int, list[str | int]]] = {
        "mask": (TensorProto.UINT8, ["N", "H", "W"]),
        "box": (TensorProto.FLOAT, ["N", regions, 4]),
        "score": (TensorProto.FLOAT, ["N"]),
        "coarse": (TensorProto.FLOAT, ["N", spec.channels, *coarse]),
        "refined": (TensorProto.FLOAT, [views, spec.channels, *refined]),
    }
    graph = helper.make_graph(
        w.nodes,
        "foveate_cascade",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, image)],
        [helper.make_tensor_value_info(name, *shapes[name]) for name in OUTPUTS],
        initializer=w.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="foveate",
        producer_version=foveate.__version__,
    )
    model.ir_version = IR_VERSION
    model.doc_string = f"Coarse-to-fine cascade of two networks, {precision}."
    onnx.checker.check_model(model, full_check=True)
    return model


def stage_model(model: onnx.ModelProto, stage: str) -> onnx.ModelProto:
    """Return one stage cut out of a fused graph: ``stage1_input`` -> ``stage1_logits``."""
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    return extractor.extract_model([f"{stage}_input"], [f"{stage}_logits"])
