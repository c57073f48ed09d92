"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array, TensorSpec, available_cores
from foveate.runtime.errors import EngineError, GraphError

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(Closing):
    """A fused graph in an ONNX Runtime session. ``run`` may be called from several threads.

    ``threads`` 0 takes the cores this process may use, not those of the machine, so that a
    container or ``taskset`` is respected.
    """

    name = "onnxruntime"

    def __init__(self, graph: bytes, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what goes wrong is raised, once, by name
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            session = onnxruntime.InferenceSession(
                graph, options, providers=[PROVIDER], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime raises many types of its own, all unnamed here
            raise GraphError(f"ONNX Runtime refuses the graph: {_line(error)}") from error
        if session.get_providers() != [PROVIDER]:
            raise EngineError(
                f"ONNX Runtime took {session.get_providers()}; wanted {PROVIDER} alone"
            )
        self._session: onnxruntime.InferenceSession | None = session
        self.inputs = tuple(_spec(item) for item in session.get_inputs())
        self.outputs = tuple(_spec(item) for item in session.get_outputs())

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        if self._session is None:
            raise EngineError("this engine has been closed; load the bundle again")
        try:
            found = self._session.run(list(outputs), feeds)
        except Exception as error:  # as above: shapes that do not meet, memory that is not there
            raise GraphError(f"ONNX Runtime cannot run the graph: {_line(error)}") from error
        return dict(zip(outputs, found, strict=True))

    def close(self) -> None:
        self._session = None


def engine_from_onnx(graph: bytes, threads: int = 0) -> OnnxRuntimeEngine:
    """Return the engine for the bytes of a fused graph."""
    return OnnxRuntimeEngine(graph, threads)


def _spec(item: onnxruntime.NodeArg) -> TensorSpec:
    sides = (side if isinstance(side, int) else None for side in item.shape)
    dtype = item.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(item.name, {"float": "float32"}.get(dtype, dtype), tuple(sides))


def _line(error: Exception) -> str:
    """Return an error of the engine as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."
