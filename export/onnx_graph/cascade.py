"""The fused cascade graph, written operator by operator (ONNX opset 18).

The same steps as ``train.reference.cascade`` and ``train.reference.geometry``, in the same order,
in float32; the networks alone may be float16, between explicit casts. N, H and W are dynamic.
Tensor names of the contract: ``image`` -> ``mask, box, score, coarse, refined``, and inside
``stage1_input, stage1_logits, stage2_input, stage2_logits``.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

import foveate
from foveate.export.onnx_graph.box import box_spans, find_box, least_box, whole_box
from foveate.export.onnx_graph.networks import write_stage
from foveate.export.onnx_graph.paste import decided, paste, write_mask
from foveate.export.onnx_graph.resample import (
    Plane,
    Span,
    fixed_plane,
    image_plane,
    resample,
    whole_span,
)
from foveate.export.onnx_graph.tile_blend import tile_mask, tile_score, tile_weights
from foveate.export.onnx_graph.tiles import choose_tiles, crop_hints, crop_tiles, tile_boxes
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.reference.cascade import STD_FLOOR

OPSET = 18
IR_VERSION = 9
OUTPUTS = ("mask", "box", "score", "coarse", "refined")


def cascade_model(
    spec: CascadeSpec, stage1: nn.Module, stage2: nn.Module | None, precision: str
) -> onnx.ModelProto:
    """Return the fused graph of a cascade.

    ``stage1`` and ``stage2`` are networks in evaluation mode whose BatchNorm is folded (see
    ``folding.folded``): those of ``train/``, or a single convolution. ``precision`` is fp32 or
    fp16, or int8 for what is quantised then.
    """
    w = GraphWriter()
    pixels = _float_image(w, spec)
    image = image_plane(w, pixels)
    if spec.pad_multiple:
        _network_at_own_size(w, spec, stage1, pixels, precision)
        w.op("Unsqueeze", whole_box(w, image), w.ints(1), name="box")
        refined = w.op("Identity", "coarse", name="refined")
        write_mask(w, spec, decided(w, spec, refined))
        _score(w, spec, refined)
        return _model(w, spec, precision)
    everything = whole_span(w, image.rows), whole_span(w, image.columns)
    small = resample(w, image, everything, spec.stage1)
    small = w.op("Mul", small, w.constant(1 / spec.full_scale))
    mean, std = _statistics(w, spec, small)
    normal = w.op("Div", w.op("Sub", small, mean), std)
    w.op("Unsqueeze", normal, w.ints(1), name="stage1_input")
    write_stage(w, stage1, "stage1", precision)
    _probabilities(w, spec, "stage1_logits", "coarse")
    if spec.stage2 is None or stage2 is None:
        box = whole_box(w, image)
        refined = w.op("Identity", "coarse", name="refined")
        spans, least = everything, None
    elif spec.region.mode == "tiles":
        _in_tiles(w, spec, stage2, image, (mean, std), precision)
        return _model(w, spec, precision)
    else:
        foreground = _foreground(w, spec)
        box = find_box(w, spec, spec.stage2, foreground, image)
        spans, least = box_spans(w, box), least_box(spec.region, spec.stage2)
        crop = _normalised(w, spec, resample(w, image, spans, spec.stage2), mean, std)
        hint = _hint(w, spec, spec.stage2, foreground, spans, image)
        channels = [w.op("Unsqueeze", part, w.ints(1)) for part in (crop, hint)]
        w.op("Concat", *channels, name="stage2_input", axis=1)
        write_stage(w, stage2, "stage2", precision)
        refined = _probabilities(w, spec, "stage2_logits", "refined")
    w.op("Unsqueeze", box, w.ints(1), name="box")
    paste(w, spec, refined, image, spans, least)
    _score(w, spec, refined)
    return _model(w, spec, precision)


def _in_tiles(
    w: GraphWriter,
    spec: CascadeSpec,
    stage2: nn.Module,
    image: Plane,
    normal: tuple[str, str],
    precision: str,
) -> None:
    """Write all that follows ``coarse`` where stage 2 looks at tiles."""
    assert spec.stage2 is not None
    foreground = _foreground(w, spec)
    tiles = choose_tiles(w, spec, image, foreground)
    tile_boxes(w, tiles)
    mean, std = (w.op("Unsqueeze", part, w.ints(-1)) for part in normal)
    crop = _normalised(w, spec, crop_tiles(w, image, tiles), mean, std)
    hint = crop_hints(w, spec, foreground, tiles)
    channels = [w.op("Unsqueeze", part, w.ints(2)) for part in (crop, hint)]
    sides = w.ints(-1, 2, spec.stage2.height, spec.stage2.width)
    w.op("Reshape", w.op("Concat", *channels, axis=2), sides, name="stage2_input")
    write_stage(w, stage2, "stage2", precision)
    refined = _probabilities(w, spec, "stage2_logits", "refined")
    weights = tile_weights(w, tiles)
    tile_mask(w, spec, refined, weights, tiles)
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
    write_stage(w, network, "stage1", precision)
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


def _normalised(w: GraphWriter, spec: CascadeSpec, crop: str, mean: str, std: str) -> str:
    """Return pixels of a crop as stage 2 takes them, by the statistics of the small image."""
    crop = w.op("Mul", crop, w.constant(1 / spec.full_scale))
    return w.op("Div", w.op("Sub", crop, mean), std)


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
    """Write probabilities; softmax by its parts, for ONNX Runtime's own takes ten times as long."""
    if spec.binary:
        return w.op("Sigmoid", logits, name=name)
    largest = w.op("ReduceMax", logits, w.ints(1), keepdims=1)
    powers = w.op("Exp", w.op("Sub", logits, largest))
    return w.op("Div", powers, w.op("ReduceSum", powers, w.ints(1), keepdims=1), name=name)


def _foreground(w: GraphWriter, spec: CascadeSpec) -> str:
    """Return (N, h1, w1): stage 1's probability of any foreground."""
    first = w.op("Slice", "coarse", w.ints(0), w.ints(1), w.ints(1))
    first = w.op("Squeeze", first, w.ints(1))
    return first if spec.binary else w.op("Sub", w.constant(1.0), first)


def _hint(
    w: GraphWriter,
    spec: CascadeSpec,
    crop: Size,
    foreground: str,
    spans: tuple[Span, Span],
    image: Plane,
) -> str:
    """Return (N, h2, w2): stage 1's foreground on the spans of the image's axes."""
    inner = []
    for span, axis, count in (
        (spans[0], image.rows, spec.stage1.height),
        (spans[1], image.columns, spec.stage1.width),
    ):
        scale = w.op("Div", w.constant(float(count)), axis.size)
        inner.append((w.op("Mul", span[0], scale), w.op("Mul", span[1], scale)))
    coarse = fixed_plane(w, foreground, spec.stage1, image)
    return resample(w, coarse, (inner[0], inner[1]), crop)


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
    tiled = spec.region.mode == "tiles"
    shapes: dict[str, tuple[int, list[str | int]]] = {
        "mask": (TensorProto.UINT8, ["N", "H", "W"]),
        "box": (TensorProto.FLOAT, ["N", "R" if tiled else 1, 4]),
        "score": (TensorProto.FLOAT, ["N"]),
        "coarse": (TensorProto.FLOAT, ["N", spec.channels, *coarse]),
        "refined": (TensorProto.FLOAT, ["N*R" if tiled else "N", spec.channels, *refined]),
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
