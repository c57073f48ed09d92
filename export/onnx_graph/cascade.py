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
from foveate.export.onnx_graph.writer import GraphWriter, Value, concat
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.reference.cascade import STD_FLOOR

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
    image = image_plane(w, pixels, spec.input_channels)
    if spec.pad_multiple:
        coarse = _network_at_own_size(w, spec, stage1, pixels, precision)
        whole_box(w, image).unsqueeze(1, name="box")
        refined = coarse.op("Identity", name="refined")
        write_mask(spec, decided(spec, refined))
        _score(spec, refined)
        return _model(w, spec, precision)
    everything = whole_span(w, image.rows), whole_span(w, image.columns)
    small = resample(w, image, everything, spec.stage1) * (1 / spec.full_scale)
    mean, std = _statistics(w, spec, small)
    if spec.input_channels == 1:
        ((small - mean) / std).unsqueeze(1, name="stage1_input")
    else:
        (small - mean).op("Div", std, name="stage1_input")
    coarse = _probabilities(spec, write_stage(w, stage1, "stage1", precision), "coarse")
    if spec.stage2 is None or stage2 is None:
        box = whole_box(w, image)
        refined = coarse.op("Identity", name="refined")
        spans, least = everything, None
    elif spec.region.mode == "tiles":
        _in_tiles(w, spec, stage2, image, coarse, (mean, std), precision)
        return _model(w, spec, precision)
    else:
        foreground = _foreground(spec, coarse)
        box = find_box(w, spec, spec.stage2, foreground, image)
        spans, least = box_spans(box), least_box(spec.region, spec.stage2)
        crop = _normalised(spec, resample(w, image, spans, spec.stage2), mean, std)
        hint = _hint(w, spec, spec.stage2, foreground, spans, image)
        concat(_channels(spec, crop, 1), hint.unsqueeze(1), axis=1, name="stage2_input")
        refined = _probabilities(spec, write_stage(w, stage2, "stage2", precision), "refined")
    box.unsqueeze(1, name="box")
    paste(w, spec, refined, image, spans, least)
    _score(spec, refined)
    return _model(w, spec, precision)


def _in_tiles(
    w: GraphWriter,
    spec: CascadeSpec,
    stage2: nn.Module,
    image: Plane,
    coarse: Value,
    normal: tuple[Value, Value],
    precision: str,
) -> None:
    """Write all that follows ``coarse`` where stage 2 looks at tiles."""
    assert spec.stage2 is not None
    foreground = _foreground(spec, coarse)
    tiles = choose_tiles(w, spec, image, foreground)
    tile_boxes(tiles)
    mean, std = (part.unsqueeze(-1 if spec.input_channels == 1 else 1) for part in normal)
    crop = _normalised(spec, crop_tiles(w, image, tiles), mean, std)
    hint = crop_hints(w, spec, foreground, tiles)
    channels = _channels(spec, crop, 2), hint.unsqueeze(2)
    sides = w.ints(-1, spec.input_channels + 1, spec.stage2.height, spec.stage2.width)
    concat(*channels, axis=2).op("Reshape", sides, name="stage2_input")
    refined = _probabilities(spec, write_stage(w, stage2, "stage2", precision), "refined")
    weights = tile_weights(w, tiles)
    tile_mask(w, spec, refined, weights, tiles)
    tile_score(*_winning(spec, refined), weights)


def _network_at_own_size(
    w: GraphWriter, spec: CascadeSpec, network: nn.Module, pixels: Value, precision: str
) -> Value:
    """Write ``coarse``, as large as the image: zero padding, the network, the padding cut off."""
    planes = pixels if spec.input_channels == 1 else pixels.transpose(0, 3, 1, 2)
    scaled = planes * (1 / spec.full_scale)
    mean, std = _statistics(w, spec, scaled)
    normal = _channels(spec, (scaled - mean) / std, 1)
    sides = pixels.op("Shape").slice(1, 3, 0)
    multiple = w.ints(spec.pad_multiple)
    times = (sides + (spec.pad_multiple - 1)) / multiple
    missing = times * multiple - sides
    normal.op("Pad", concat(w.ints(0, 0, 0, 0, 0, 0), missing, axis=0), name="stage1_input")
    logits = write_stage(w, network, "stage1", precision)
    logits = logits.op("Slice", w.ints(0, 0), sides, w.ints(2, 3))
    return _probabilities(spec, logits, "coarse")


def _float_image(w: GraphWriter, spec: CascadeSpec) -> Value:
    """Return (N, H, W) float32 in the unit of the files, (N, H, W, C) with several channels."""
    pixels = Value(w, "image").to_float()
    if spec.input_type == "uint8":
        return pixels
    values = pixels @ w.array(np.array([[1.0], [256.0]], np.float32))
    return values.squeeze(3 if spec.input_channels == 1 else 4)


def _channels(spec: CascadeSpec, value: Value, axis: int) -> Value:
    """Return a value with the axis of channels, which one of grey images lacks."""
    return value.unsqueeze(axis) if spec.input_channels == 1 else value


def _normalised(spec: CascadeSpec, crop: Value, mean: Value, std: Value) -> Value:
    """Return pixels of a crop as stage 2 takes them, by the statistics of the small image."""
    return (crop * (1 / spec.full_scale) - mean) / std


def _statistics(w: GraphWriter, spec: CascadeSpec, small: Value) -> tuple[Value, Value]:
    """Return mean and deviation, (N, 1, 1) or a constant, in units of the full scale.

    (N, C, 1, 1), or (1, C, 1, 1), with several channels.
    """
    known, count = spec.normalisation.constants(spec.input_channels), spec.input_channels
    if known and count == 1:
        return w.constant(spec.normalisation.mean), w.constant(spec.normalisation.std)
    if known:
        mean, std = (w.array(np.array(part, np.float32).reshape(1, -1, 1, 1)) for part in known)
        return mean, std
    rows = 1 if count == 1 else 2
    mean = _mean(small, rows)
    apart = small - mean
    variance = _mean(apart * apart, rows)
    return mean, variance.op("Sqrt").maximum(STD_FLOOR)


def _mean(plane: Value, rows: int) -> Value:
    """Return the mean of planes, of sides 1: row by row, then of the rows, axis ``rows``.

    Engines add up in float32, some one value after the other: over a million pixels at once the
    mean was off by 0.004 deviations in ONNX Runtime.
    """
    return plane.reduce("Mean", rows + 1, keep=True).reduce("Mean", rows, keep=True)


def _probabilities(spec: CascadeSpec, logits: Value, name: str) -> Value:
    """Write probabilities; softmax by its parts, for ONNX Runtime's own takes ten times as long."""
    if spec.binary:
        return logits.op("Sigmoid", name=name)
    powers = (logits - logits.reduce("Max", 1, keep=True)).op("Exp")
    return powers.op("Div", powers.reduce("Sum", 1, keep=True), name=name)


def _foreground(spec: CascadeSpec, coarse: Value) -> Value:
    """Return (N, h1, w1): stage 1's probability of any foreground."""
    first = coarse.slice(0, 1, 1).squeeze(1)
    return first if spec.binary else 1.0 - first


def _hint(
    w: GraphWriter,
    spec: CascadeSpec,
    crop: Size,
    foreground: Value,
    spans: tuple[Span, Span],
    image: Plane,
) -> Value:
    """Return (N, h2, w2): stage 1's foreground on the spans of the image's axes."""
    inner = []
    for span, axis, count in (
        (spans[0], image.rows, spec.stage1.height),
        (spans[1], image.columns, spec.stage1.width),
    ):
        scale = float(count) / axis.size
        inner.append((span[0] * scale, span[1] * scale))
    coarse = fixed_plane(w, foreground, spec.stage1, image)
    return resample(w, coarse, (inner[0], inner[1]), crop)


def _score(spec: CascadeSpec, probability: Value) -> None:
    """Write ``score``: the mean winning probability over the foreground; 0 where there is none."""
    winning, chosen = _winning(spec, probability)
    total = (winning * chosen).reduce("Sum", 1, 2)
    total.op("Div", chosen.reduce("Sum", 1, 2).maximum(1.0), name="score")


def _winning(spec: CascadeSpec, probability: Value) -> tuple[Value, Value]:
    """Return the highest probability, (N, h, w), and 1 where it is foreground, else 0."""
    if spec.binary:
        winning = probability.squeeze(1)
        return winning, (winning > float(spec.mask_threshold)).to_float()
    winning = probability.reduce("Max", 1)
    label = probability.op("ArgMax", axis=1, keepdims=0).to_float()
    return winning, (label > 0.5).to_float()


def _model(w: GraphWriter, spec: CascadeSpec, precision: str) -> onnx.ModelProto:
    image: list[str | int] = ["N", "H", "W", *spec.channel_side]
    image += [2] if spec.input_type == "uint16" else []
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
        "coarse": (TensorProto.FLOAT, ["N", spec.output_channels, *coarse]),
        "refined": (TensorProto.FLOAT, ["N*R" if tiled else "N", spec.output_channels, *refined]),
    }
    model = w.model(
        "foveate_cascade",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, image)],
        [helper.make_tensor_value_info(name, *shapes[name]) for name in OUTPUTS],
    )
    model.producer_name, model.producer_version = "foveate", foveate.__version__
    model.doc_string = f"Coarse-to-fine cascade of two networks, {precision}."
    onnx.checker.check_model(model, full_check=True)
    return model


def stage_model(model: onnx.ModelProto, stage: str) -> onnx.ModelProto:
    """Return one stage cut out of a fused graph: ``stage1_input`` -> ``stage1_logits``."""
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model))
    return extractor.extract_model([f"{stage}_input"], [f"{stage}_logits"])
