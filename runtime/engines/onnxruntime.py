"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.host_memory import PlainMemory
from foveate.runtime.engines.onnxruntime_binding import BoundSession
from foveate.runtime.engines.onnxruntime_session import session_options, short
from foveate.runtime.errors import EngineError, GraphError

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(Closing):
    """A fused graph in an ONNX Runtime session. ``run`` may be called from several threads.

    ``threads`` 0 takes the cores this process may use. Outputs are written into arrays of their
    own: those that ONNX Runtime makes lie in its arena, and who keeps one keeps it in pieces.
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
        self._bound = BoundSession(session, PlainMemory)
        self.inputs, self.outputs = self._bound.inputs, self._bound.outputs

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        return self._bound.run(feeds, outputs)

    def close(self) -> None:
        self._bound.close()


def engine_from_onnx(graph: bytes, threads: int = 0) -> OnnxRuntimeEngine:
    """Return the engine for the bytes of a fused graph."""
    return OnnxRuntimeEngine(graph, threads)
