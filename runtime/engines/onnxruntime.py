"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.onnxruntime_session import session_options, short, tensor_specs
from foveate.runtime.errors import EngineError, GraphError

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(Closing):
    """A fused graph in an ONNX Runtime session. ``run`` may be called from several threads.

    ``threads`` 0 takes the cores this process may use.
    """

    name = "onnxruntime"

    def __init__(self, graph: bytes, threads: int = 0) -> None:
        try:
            session = onnxruntime.InferenceSession(
                graph, session_options(threads), providers=[PROVIDER], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime raises many types of its own, all unnamed here
            raise GraphError(f"ONNX Runtime refuses the graph: {short(error)}") from error
        if session.get_providers() != [PROVIDER]:
            raise EngineError(
                f"ONNX Runtime took {session.get_providers()}; wanted {PROVIDER} alone"
            )
        self._session: onnxruntime.InferenceSession | None = session
        self.inputs = tensor_specs(session.get_inputs())
        self.outputs = tensor_specs(session.get_outputs())

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        if self._session is None:
            raise EngineError("this engine has been closed; load the bundle again")
        try:
            found = self._session.run(list(outputs), feeds)
        except Exception as error:  # as above: shapes that do not meet, memory that is not there
            raise GraphError(f"ONNX Runtime cannot run the graph: {short(error)}") from error
        return dict(zip(outputs, found, strict=True))

    def close(self) -> None:
        self._session = None


def engine_from_onnx(graph: bytes, threads: int = 0) -> OnnxRuntimeEngine:
    """Return the engine for the bytes of a fused graph."""
    return OnnxRuntimeEngine(graph, threads)
