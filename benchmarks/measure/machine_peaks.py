"""What this machine can do at most, measured: float32 arithmetic and copying memory.

Of several runs the best counts, and of several libraries the fastest: a peak must not lie below
what an engine reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from foveate.benchmarks.measure.timing import seconds_of
from foveate.runtime.engines.onnxruntime import PROVIDER

FloatArray = npt.NDArray[np.float32]

SIDE = 2048
"""Rows and columns of the matrices multiplied."""
CONVOLUTION = (64, 128, 3)
"""Channels in and out, rows and columns, and side of the kernel of the convolution measured."""
COPY_BYTES = 1 << 28
"""Bytes copied at once by all threads together, far more than a cache holds."""
RUNS, SECONDS = 3, 0.5
"""Each is measured so many times at least, and for so long."""


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
