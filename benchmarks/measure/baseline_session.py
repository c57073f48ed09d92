"""A graph in ONNX Runtime with nothing of foveate's around it."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from foveate.runtime.engines.base import Array
from foveate.runtime.errors import EngineError

CPU = "CPUExecutionProvider"


class BareSession:
    """A session with default options but threads and provider; its graph has one input.

    EngineError when ONNX Runtime takes another provider, which it does without a word.
    """

    def __init__(
        self, graph: bytes, threads: int, provider: str = CPU, spinning: bool = True
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        taken = self.session.get_providers()
        if taken[0] != provider:
            raise EngineError(f"ONNX Runtime took {taken[0]}; wanted {provider}")
        self.source = self.session.get_inputs()[0].name

    def run(self, values: Array, outputs: Sequence[str] | None = None) -> list[Array]:
        """Return the named outputs, or all of them."""
        found: list[Array] = self.session.run(outputs, {self.source: values})
        return found
