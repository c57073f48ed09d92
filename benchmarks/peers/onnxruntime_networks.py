"""The networks as ONNX Runtime sessions of their own, and a bare session of a whole graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from foveate.benchmarks.peers.glue import Network
from foveate.runtime.engines.base import Array

FloatArray = npt.NDArray[np.float32]
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


class BareSession:
    """A graph in ONNX Runtime with nothing of foveate's around it."""

    def __init__(
        self, graph: bytes, threads: int, provider: str = CPU, spinning: bool = True
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        self.source = self.session.get_inputs()[0].name

    def run(self, values: Array, outputs: Sequence[str] | None = None) -> list[Array]:
        """Return the named outputs, or all of them."""
        found: list[Array] = self.session.run(outputs, {self.source: values})
        return found


def onnxruntime_network(graph: bytes, threads: int, provider: str = CPU) -> Network:
    """Return one stage's ONNX as a function of numpy arrays.

    Its idle threads sleep: those of two sessions in one process would spin against each other,
    which cost a third of the time where it was measured.
    """
    session = BareSession(graph, threads, provider, spinning=False)

    def network(values: FloatArray) -> FloatArray:
        return np.asarray(session.run(values)[0], np.float32)

    return network


def has_cuda() -> bool:
    """Say whether this ONNX Runtime was built with its CUDA provider."""
    return CUDA in onnxruntime.get_available_providers()
