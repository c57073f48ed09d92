"""ONNX Runtime on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime

from foveate.runtime.arrays import Array
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.hardware import available_cores, processor
from foveate.runtime.engines.host_memory import HostMemory, PlainMemory
from foveate.runtime.errors import EngineError, GraphError
from foveate.runtime.limits import LARGE

PROVIDER = "CPUExecutionProvider"
TYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of types that numpy calls otherwise."""


class OnnxRuntimeEngine(Closeable):
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
        raise EngineError(f"ONNX Runtime took {session.get_providers()}; expected {PROVIDER} alone")
    return BoundSession(session, PlainMemory)


def engine_from_onnx(graph: bytes, threads: int = 0) -> OnnxRuntimeEngine:
    """Return the engine for the bytes of a fused graph."""
    return OnnxRuntimeEngine(graph, threads)


Side = int | str | None


class BoundSession(Closeable):
    """A session whose inputs and outputs are bound to addresses. Safe from several threads.

    Each run under way has a memory of its own, made by ``memory`` and used again afterwards: there
    are as many as runs were ever under way at once. Only outputs asked for are bound, so only they
    leave the device. An output whose shape the inputs' shapes do not tell is left to ONNX Runtime,
    which puts it into memory of its own on the host.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, memory: Callable[[], HostMemory]
    ) -> None:
        self.inputs = tensor_specs(session.get_inputs())
        self.outputs = tensor_specs(session.get_outputs())
        self._sides: dict[str, list[Side]] = {
            item.name: list(item.shape) for item in (*session.get_inputs(), *session.get_outputs())
        }
        self._session: onnxruntime.InferenceSession | None = session
        self._memory = memory
        self._free: list[HostMemory] = []

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        session = self._session
        if session is None:
            raise EngineError("this engine has been closed; load the bundle again")
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._memory()
        try:
            return self._run(session, memory, feeds, outputs)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime raises many types of its own, all unnamed here
            raise GraphError(f"ONNX Runtime cannot run the graph: {short(error)}") from error
        finally:
            self._free.append(memory)
            if self._session is None:
                self.close()

    def close(self) -> None:
        """Let go of the session and of all memory; that of a run under way follows its end."""
        self._session = None
        while self._free:
            self._free.pop().close()

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        memory: HostMemory,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
    ) -> dict[str, Array]:
        lengths, expected = self._lengths(feeds), self._requested(outputs)
        binding = session.io_binding()
        held = {name: memory.filled(name, values) for name, values in feeds.items()}
        for name, array in held.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        bound = {}
        for item in expected:
            shape = _shape(self._sides[item.name], lengths)
            if shape is None:
                binding.bind_output(item.name, "cpu")
                continue
            array = bound[item.name] = memory.empty(item.name, shape, np.dtype(item.dtype))
            kind = array.dtype.type
            binding.bind_output(item.name, "cpu", 0, kind, shape, array.ctypes.data)
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        found = dict(zip(outputs, binding.get_outputs(), strict=True))
        return {
            name: memory.own(bound[name]) if name in bound else np.array(found[name].numpy())
            for name in outputs
        }

    def _lengths(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Return the length of every named side of the inputs; EngineError for an unknown one."""
        lengths: dict[str, int] = {}
        for name, array in feeds.items():
            if name not in (item.name for item in self.inputs):
                raise EngineError(
                    f'there is no input "{name}"; the graph has {_names(self.inputs)}'
                )
            for side, length in zip(self._sides[name], array.shape, strict=False):
                if isinstance(side, str):
                    lengths[side] = length
        return lengths

    def _requested(self, outputs: Sequence[str]) -> list[TensorSpec]:
        known = {item.name: item for item in self.outputs}
        for name in outputs:
            if name not in known:
                raise EngineError(
                    f'there is no output "{name}"; the graph has {_names(self.outputs)}'
                )
        return [known[name] for name in outputs]


def _shape(sides: Sequence[Side], lengths: Mapping[str, int]) -> tuple[int, ...] | None:
    """Return a shape in numbers, or None where a side is not known before the run."""
    found = [side if isinstance(side, int) else lengths.get(str(side)) for side in sides]
    known = [side for side in found if side is not None]
    return tuple(known) if len(known) == len(found) else None


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(item.name for item in specs)


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Return options for one graph at a time.

    ``threads`` 0 takes the cores this process may use, not those of the machine, so that a
    container or ``taskset`` is respected.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what goes wrong is raised, once, by name
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if not processor().exact_int8:  # else sums of int8 products are cut off at 16 bits
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def tensor_specs(items: Sequence[onnxruntime.NodeArg]) -> tuple[TensorSpec, ...]:
    """Return what a session says of its inputs or outputs."""
    return tuple(_spec(item) for item in items)


def short(error: Exception) -> str:
    """Return an error of ONNX Runtime as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def _spec(item: onnxruntime.NodeArg) -> TensorSpec:
    sides = (side if isinstance(side, int) else None for side in item.shape)
    dtype = item.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(item.name, TYPES.get(dtype, dtype), tuple(sides))
