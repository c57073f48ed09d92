"""Convolve what a decoder doubles and joins without doing either: the same sums, fewer products.

A U-Net's decoder repeats each pixel 2 x 2 times and convolves 3 x 3. Such a window holds only 2 x 2
different pixels, so each of the four copies has a kernel of 2 x 2: sums of the nine weights. All
four are channels of one convolution, which ``DepthToSpace`` puts in their places; its windows begin
one pixel outside, so the outermost ring is cut off: 4 products in place of 9.

A convolution behind a ``Concat`` becomes a sum over its parts, which spares copying them: where one
is doubled, and where there are two and nothing else reads them together.

The file keeps the weights as they were trained, and the operators that add them up: engines compute
those once, when they load the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foveate.export.onnx_graph.writer import GraphWriter, Value

SUMS = np.einsum(
    "art,bcs->abrcts",
    *[np.array([[[1, 0], [1, 0]], [[1, 0], [0, 1]], [[0, 1], [0, 1]]], np.float32)] * 2,
).reshape(9, 16)
"""(9, 16): the nine weights of a kernel -> the four of each copy.

A window of two pixels makes the second copy of its first and the first copy of its second.
"""


@dataclass(frozen=True)
class _Part:
    """What a convolution reads: a tensor, its channels among all, and whether to double it."""

    tensor: str
    channels: slice
    doubled: bool


def merge_joins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 network, its doublings and joins merged into the convolutions behind."""
    graph = model.graph
    parts = _mergeable(onnx.shape_inference.infer_shapes(model).graph)
    if not parts:
        return model
    w = GraphWriter(f"{graph.name}_m")  # short: a file has each name several times
    for tensor in graph.initializer:
        w.array(numpy_helper.to_array(tensor), tensor.name)
    for node in graph.node:
        if node.output[0] in parts:
            _write(w, node, parts[node.output[0]])
        else:
            w.nodes.append(node)
    w.drop_unused(item.name for item in graph.output)
    return w.model(graph.name, graph.input, graph.output)


def _mergeable(graph: onnx.GraphProto) -> dict[str, list[_Part]]:
    """Return the parts that a convolution reads, by its output, where they are to be apart."""
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    stored = {item.name: item for item in graph.initializer}
    channels = {
        item.name: item.type.tensor_type.shape.dim[1].dim_value
        for item in [*graph.value_info, *graph.input]
        if len(item.type.tensor_type.shape.dim) == 4
    }
    found = {}
    for node in graph.node:
        if node.op_type != "Conv" or not _plain(node, stored):
            continue
        maker, names = makers.get(node.input[0]), [node.input[0]]
        if maker is not None and maker.op_type == "Concat":
            if helper.get_node_attr_value(maker, "axis") not in (1, -3):
                continue  # joined side by side, not as channels
            names = list(maker.input)
        sources = [_doubled(makers.get(name), stored) for name in names]
        widths = [channels.get(name, 0) for name in names]
        pair = len(names) == 2 and readers[node.input[0]] == 1
        if (any(sources) or pair) and all(widths):
            ends = np.cumsum(widths).tolist()
            found[node.output[0]] = [
                _Part(source or name, slice(end - width, end), bool(source))
                for name, source, width, end in zip(names, sources, widths, ends, strict=True)
            ]
    return found


def _plain(node: NodeProto, stored: Mapping[str, TensorProto]) -> bool:
    """Say whether a convolution is 3 x 3, padded by 1, of weights that are stored."""
    form = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return (
        node.input[1] in stored
        and list(stored[node.input[1]].dims[2:]) == [3, 3]
        and list(form.get("pads", ())) == [1, 1, 1, 1]
        and form.get("group", 1) == 1
        and {*form.get("strides", ()), *form.get("dilations", ())} <= {1}
    )


def _doubled(node: NodeProto | None, stored: Mapping[str, TensorProto]) -> str:
    """Return what a node repeats 2 x 2 times, "" where it does something else."""
    if node is None or node.op_type != "Resize" or node.input[2] not in stored:
        return ""
    form = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    scales = numpy_helper.to_array(stored[node.input[2]]).tolist()
    repeats = form.get("mode", b"nearest") == b"nearest" and not form.get("antialias")
    place = form.get("coordinate_transformation_mode", b"half_pixel")
    side = {b"asymmetric": b"floor", b"half_pixel": b"round_prefer_floor"}.get(place)
    same = form.get("nearest_mode", b"round_prefer_floor") == side
    return str(node.input[0]) if repeats and same and scales == [1, 1, 2, 2] else ""


def _write(w: GraphWriter, node: NodeProto, parts: list[_Part]) -> None:
    """Write a convolution as a sum over its parts; one that is not doubled has the bias, if any."""
    weight, *bias = (Value(w, name) for name in node.input[1:])
    with_bias = min(parts, key=lambda part: part.doubled)
    products = []
    for part in parts:
        begin, end = part.channels.start, part.channels.stop
        own = weight if len(parts) == 1 else weight.slice(begin, end, 1)
        more = bias if part is with_bias else []
        if part.doubled:
            products.append(_convolve_doubled(Value(w, part.tensor), own, more, part))
        else:
            x = Value(w, part.tensor)
            products.append(x.op("Conv", own, *more, kernel_shape=[3, 3], pads=[1] * 4))
    total = products[0]
    for product in products[1:]:
        total = total + product
    w.nodes[-1].output[0] = w.nodes[-1].name = node.output[0]


def _convolve_doubled(x: Value, weight: Value, bias: list[Value], part: _Part) -> Value:
    """Write a convolution of 3 x 3 of a doubled tensor."""
    channels = part.channels.stop - part.channels.start
    sums = weight.reshape(-1, 9) @ x.w.array(SUMS)
    sums = sums.reshape(-1, channels, 4, 4).transpose(2, 0, 1, 3).reshape(-1, channels, 2, 2)
    ones = x.w.array(np.ones((4, 1), np.float32))
    four = [(item.reshape(1, -1) * ones).reshape(-1) for item in bias]
    copies = x.op("Conv", sums, *four, kernel_shape=[2, 2], pads=[1] * 4)
    large = copies.op("DepthToSpace", blocksize=2, mode="DCR")
    return large.op("Slice", x.w.ints(1, 1), x.w.ints(-1, -1), x.w.ints(2, 3))
