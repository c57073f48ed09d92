"""OpenVINO on the CPU, in float32 or with the networks in bfloat16."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.openvino_import import openvino
from foveate.runtime.engines.openvino_model import CPU, compiled_model, short, tensor_spec
from foveate.runtime.errors import EngineError, GraphError

MOST_SHAPES = 8
"""Shapes that an engine is compiled for apart: each takes as much memory as the weights."""


@dataclass(frozen=True)
class _Compiled:
    """A compiled model, and its requests that no thread uses; they keep their memory."""

    model: Any
    idle: deque[Any] = field(default_factory=deque)

    def request(self) -> Any:
        try:
            return self.idle.pop()
        except IndexError:
            return self.model.create_infer_request()


class OpenVinoEngine(Closeable):
    """A fused graph compiled by OpenVINO. ``run`` may be called from several threads.

    A run takes ``threads`` cores, 0 for all that this process may use. As many runs as that leaves
    room for go on side by side, each in the thread that called it; the others wait.
    """

    name = "openvino"
    device = CPU

    def __init__(
        self, graph: bytes, threads: int = 0, bf16: bool = False, sha256: str = ""
    ) -> None:
        sha256 = sha256 or hashlib.sha256(graph).hexdigest()
        self._graph, self._options = graph, (sha256, self.device, threads, bf16)
        compiled = compiled_model(graph, *self._options)
        self._any: _Compiled | None = _Compiled(compiled)
        self._fixed: dict[tuple[int, ...], _Compiled] = {}
        self.inputs = tuple(tensor_spec(port) for port in compiled.inputs)
        self.outputs = tuple(tensor_spec(port) for port in compiled.outputs)
        self._places = {item.name: place for place, item in enumerate(self.outputs)}

    def fix_shape(self, shape: tuple[int, ...]) -> None:
        """Compile the graph for one shape of its input; runs of that shape are faster from then on.

        Of ``MOST_SHAPES`` shapes at most; further ones run as before.
        """
        if self._any is None or shape in self._fixed or len(self._fixed) == MOST_SHAPES:
            return
        self._fixed[shape] = _Compiled(compiled_model(self._graph, *self._options, shape))

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        if self._any is None:
            raise EngineError("this engine has been closed; load the bundle again")
        compiled = self._any
        for values in feeds.values():
            compiled = self._fixed.get(values.shape, compiled)
        request = compiled.request()
        try:
            for name, values in feeds.items():
                request.set_tensor(name, _tensor(values))
            request.infer()
            found = {name: self._copied(request, name) for name in outputs}
        except (RuntimeError, KeyError) as error:  # a request that failed is not used again
            raise GraphError(f"OpenVINO cannot run the graph: {short(error)}") from error
        if self._any is not None:
            compiled.idle.append(request)
        return found

    def close(self) -> None:
        self._any = None
        self._fixed = {}
        self._graph = b""

    def _copied(self, request: Any, name: str) -> Array:
        array: Array = request.get_output_tensor(self._places[name]).data.copy()
        return array


def engine_from_onnx(
    graph: bytes, threads: int = 0, bf16: bool = False, sha256: str = ""
) -> OpenVinoEngine:
    """Return the engine for the bytes of a fused graph, its networks in bfloat16 if so wished."""
    return OpenVinoEngine(graph, threads, bf16, sha256)


def _tensor(values: Array) -> Any:
    """Return an array as OpenVINO's tensor, without a copy unless it may not be written to."""
    array = np.ascontiguousarray(values)
    return openvino.Tensor(array, shared_memory=bool(array.flags.writeable))
