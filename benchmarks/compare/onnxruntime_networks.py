"""The networks as ONNX Runtime sessions of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from foveate.benchmarks.compare.handwritten_cascade import Network
from foveate.benchmarks.measure.baseline import CPU, BaselineSession

FloatArray = npt.NDArray[np.float32]
CUDA = "CUDAExecutionProvider"


def onnxruntime_network(graph: bytes, threads: int, provider: str = CPU) -> Network:
    """Return one stage's ONNX as a function of numpy arrays.

    Its idle threads sleep: those of two sessions in one process would spin against each other,
    which cost a third of the time where it was measured.
    """
    session = BaselineSession(graph, threads, provider, spinning=False)

    def network(values: FloatArray) -> FloatArray:
        return np.asarray(session.run(values)[0], np.float32)

    return network


def has_cuda() -> bool:
    """Say whether this ONNX Runtime was built with its CUDA provider."""
    return CUDA in onnxruntime.get_available_providers()
