"""ONNX Runtime on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import onnxruntime

from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.host_memory import PlainMemory
from foveate.runtime.engines.onnxruntime_binding import BoundSession
from foveate.runtime.engines.onnxruntime_session import session_options, short
from foveate.runtime.errors import EngineError, GraphError
from foveate.runtime.limits import LARGE

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(Closing):
    """A fused graph in an ONNX Runtime session. ``run`` may be called from several threads.

    ``threads`` 0 takes the cores this process may use. Outputs are written into arrays of their
    own: those that ONNX Runtime makes lie in its arena, and who keeps one keeps it in pieces.
    Feeds from ``LARGE`` bytes on go through a second session, made when they first come, that has
    no arena: it is slower, takes no more than it needs, and gives it back.
    """

    name = "onnxruntime"

    def __init__(self, graph: bytes, threads: int = 0) -> None:
        self._graph, self._threads = graph, threads
        self._bound = _bound_session(graph, session_options(threads))
        self._large: BoundSession | None = None
        self._lock = threading.Lock()
        self.inputs, self.outputs = self._bound.inputs, self._bound.outputs

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        if sum(array.nbytes for array in feeds.values()) >= LARGE:
            return self._without_arena().run(feeds, outputs)
        return self._bound.run(feeds, outputs)

    def close(self) -> None:
        self._bound.close()
        with self._lock:
            self._graph = b""
            if self._large is not None:
                self._large.close()

    def _without_arena(self) -> BoundSession:
        with self._lock:
            if not self._graph:
                return self._bound  # closed, and says so
            if self._large is None:
                options = session_options(self._threads)
                options.enable_cpu_mem_arena = False
                self._large = _bound_session(self._graph, options)
            return self._large


def _bound_session(graph: bytes, options: onnxruntime.SessionOptions) -> BoundSession:
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=[PROVIDER], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime raises many types of its own, all unnamed here
        raise GraphError(f"ONNX Runtime refuses the graph: {short(error)}") from error
    if session.get_providers() != [PROVIDER]:
        raise EngineError(f"ONNX Runtime took {session.get_providers()}; wanted {PROVIDER} alone")
    return BoundSession(session, PlainMemory)


def engine_from_onnx(graph: bytes, threads: int = 0) -> OnnxRuntimeEngine:
    """Return the engine for the bytes of a fused graph."""
    return OnnxRuntimeEngine(graph, threads)
