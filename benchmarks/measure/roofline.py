"""How near a measured time is to what this machine's peaks allow for the same graph.

The floor of an operator is the greater of its arithmetic at the peak rate and its bytes at the
copying rate; floors add up. A floor belongs to the graph as it is written: a better graph has a
lower one. Tensors that stay in a cache move faster than the floor says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from foveate.benchmarks.measure.timing import seconds_of
from foveate.runtime.engines.onnxruntime import PROVIDER

SIDE = 2048
"""Rows and columns of the matrices multiplied."""
CONVOLUTION = (64, 128, 3)
"""Channels in and out, rows and columns, and side of the kernel of the convolution measured."""
COPY_BYTES = 1 << 28
"""Bytes copied at once by all threads together, far more than a cache holds."""
RUNS, SECONDS = 3, 0.5
"""Each is measured so many times at least, and for so long."""
GEOMETRY = "geometry"
NETWORKS = ("stage 1 network", "stage 2 network")
"""The nodes between ``stage1_input`` and ``stage1_logits``, and the same of stage 2."""
COUNTED = ("Conv", "ConvTranspose", "MatMul", "MaxPool", "Cast")


def roofline(
    graph: bytes, height: int, width: int, measured_ms: float, cores: int
) -> dict[str, Any]:
    """Return the roofline of one image of a size, as JSON values.

    ``measured_ms`` is what one image takes on all of ``cores``, array in, mask out, float32.
    """
    costs = operator_costs(graph, 1, height, width)
    found = share_of_peak(costs, measured_peaks(cores), measured_ms)
    return {"height": height, "width": width, **found}


def share_of_peak(
    costs: Iterable[OperatorCost], peaks: Peaks, measured_ms: float
) -> dict[str, Any]:
    """Return the floors of the parts of a graph, their sum, and its share of the time measured."""
    parts: dict[str, dict[str, Any]] = {}
    for cost in costs:
        empty = {"part": cost.part, "gflop": 0.0, "mbyte": 0.0, "floor_ms": 0.0}
        part = parts.setdefault(cost.part, empty)
        part["gflop"] += cost.flop / 1e9
        part["mbyte"] += cost.bytes_moved / 1e6
        part["floor_ms"] += floor_ms(cost, peaks)
    total_ms = sum(part["floor_ms"] for part in parts.values())
    return {
        "parts": list(parts.values()),
        "peak_gflops": peaks.gflops,
        "copy_gb_s": peaks.copy_gb_s,
        "floor_ms": total_ms,
        "measured_ms": measured_ms,
        "share": total_ms / measured_ms,
    }


def floor_ms(cost: OperatorCost, peaks: Peaks) -> float:
    """Return the least time of one operator: arithmetic or memory, whichever takes longer."""
    return max(cost.flop / peaks.gflops, cost.bytes_moved / peaks.copy_gb_s) / 1e6


FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Peaks:
    """float32 arithmetic in 10^9 operations a second, and bytes read and written in 10^9."""

    gflops: float
    copy_gb_s: float


def measured_peaks(cores: int) -> Peaks:
    """Return the peaks of ``cores`` cores; takes a few seconds."""
    rng = np.random.default_rng(0)
    rates = [numpy_gflops(rng), product_gflops(rng, cores), convolution_gflops(rng, cores)]
    return Peaks(max(rates), copy_gb_s(cores))


def numpy_gflops(rng: np.random.Generator) -> float:
    """Return the rate of numpy's matrix product, on all cores it takes by itself."""
    left, right = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(left)
    return 2 * SIDE**3 / _best_seconds(lambda: np.matmul(left, right, out=out)) / 1e9


def product_gflops(rng: np.random.Generator, cores: int) -> float:
    """Return the rate of ONNX Runtime's matrix product by a constant matrix."""
    left, right = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    return 2 * SIDE**3 / _best_seconds(_operator("MatMul", left, right, cores)) / 1e9


def convolution_gflops(rng: np.random.Generator, cores: int) -> float:
    """Return the rate of ONNX Runtime's convolution."""
    channels, side, kernel = CONVOLUTION
    image = rng.random((1, channels, side, side), np.float32)
    weights = rng.random((channels, channels, kernel, kernel), np.float32)
    flop = 2 * (channels * side * kernel) ** 2
    call = _operator("Conv", image, weights, cores, pads=[kernel // 2] * 4)
    return flop / _best_seconds(call) / 1e9


def copy_gb_s(cores: int) -> float:
    """Return 10^9 bytes a second, read and written, when every core copies arrays of its own."""
    size = COPY_BYTES // cores
    pairs = [(np.zeros(size, np.uint8), np.ones(size, np.uint8)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        seconds = _best_seconds(lambda: list(pool.map(_copy, pairs)))
    return 2 * size * cores / seconds / 1e9


def _copy(pair: Sequence[npt.NDArray[np.uint8]]) -> None:
    np.copyto(pair[0], pair[1])


def _best_seconds(call: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < RUNS or sum(times) < SECONDS:
        times.append(seconds_of(call))
    return min(times)


def _operator(
    kind: str, feed: FloatArray, constant: FloatArray, cores: int, **attributes: Any
) -> Callable[[], object]:
    """Return a call that runs one ONNX operator on its input and a constant."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "constant"], ["y"], **attributes)],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, feed.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constant, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    return lambda: session.run(None, {"x": feed})


def node_parts(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the part of every node, by the name of its first output."""
    makers = {name: node for node in graph.node for name in node.output}
    parts = {node.output[0]: GEOMETRY for node in graph.node}
    for number, part in enumerate(NETWORKS, 1):
        for node in _between(makers, f"stage{number}_input", f"stage{number}_logits"):
            parts[node.output[0]] = part
    return parts


def _between(makers: dict[str, onnx.NodeProto], start: str, stop: str) -> list[onnx.NodeProto]:
    """Return the nodes that lead from tensor ``start`` to tensor ``stop``; none without them."""
    found: dict[str, onnx.NodeProto] = {}
    waiting = [stop]
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if name == start or node is None or node.output[0] in found:
            continue
        found[node.output[0]] = node
        waiting += node.input
    return list(found.values())


Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorCost:
    """One operator: the part of the graph it is in, its ONNX kind, and what it costs."""

    part: str
    kind: str
    multiply_adds: int
    bytes_moved: int

    @property
    def flop(self) -> int:
        """A multiply-add is two floating-point operations."""
        return 2 * self.multiply_adds


def operator_costs(graph: bytes, count: int, height: int, width: int) -> list[OperatorCost]:
    """Return the cost of every counted operator for ``count`` images of one size.

    The graph is run once on black images, without optimisations, to learn the shape of every
    tensor. An int8 graph counts the float32 tensors that its operators see.
    """
    model = onnx.load_from_string(graph)
    nodes = [node for node in _of_images(model.graph) if node.op_type in COUNTED]
    names = {name for node in nodes for name in (*node.input, *node.output) if name}
    shapes = tensor_shapes(model, names, count, height, width)
    item_bytes = _item_bytes(model)
    parts = node_parts(model.graph)
    return [
        OperatorCost(
            parts[node.output[0]],
            node.op_type,
            _multiply_adds(node, shapes),
            sum(
                math.prod(shapes[name]) * item_bytes[name]
                for name in (*node.input, *node.output)
                if name
            ),
        )
        for node in nodes
    ]


def _of_images(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that depend on the image; engines compute the others when they load."""
    changing = {item.name for item in graph.input}
    found = []
    for node in graph.node:
        if changing.intersection(node.input):
            changing.update(node.output)
            found.append(node)
    return found


def multiply_adds(graph: bytes, count: int, height: int, width: int) -> dict[str, int]:
    """Return the multiply-adds of each part of a graph for ``count`` images of one size."""
    totals: dict[str, int] = {}
    for cost in operator_costs(graph, count, height, width):
        totals[cost.part] = totals.get(cost.part, 0) + cost.multiply_adds
    return totals


def _multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Return the products of one operator; those with padding are among them."""
    if node.op_type == "Conv":  # weights (out, in / groups, *kernel)
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, *kernel)
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 0


def tensor_shapes(
    model: onnx.ModelProto, names: Iterable[str], count: int, height: int, width: int
) -> dict[str, Shape]:
    """Return the shape of each named tensor when the graph runs on images of one size."""
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    asked = sorted(set(names) - set(shapes))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, name in enumerate(asked):
        shape = f"shape_probe_{number}"
        probe.graph.node.append(helper.make_node("Shape", [name], [shape]))
        probe.graph.output.append(helper.make_tensor_value_info(shape, TensorProto.INT64, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=[PROVIDER])
    image = session.get_inputs()[0]
    black = np.zeros((count, height, width, *image.shape[3:]), np.uint8)
    found = session.run(None, {image.name: black})
    return shapes | {name: tuple(shape.tolist()) for name, shape in zip(asked, found, strict=True)}


def _item_bytes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the bytes of one element of each tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    return {name: helper.tensor_dtype_to_np_dtype(kind).itemsize for name, kind in kinds.items()}
