"""A session of ONNX Runtime run through IOBinding, over host memory that we choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime

from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Array, TensorSpec
from foveate.runtime.engines.host_memory import HostMemory
from foveate.runtime.engines.onnxruntime_session import short, tensor_specs
from foveate.runtime.errors import EngineError, GraphError

Side = int | str | None


class BoundSession(Closing):
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
        lengths, wanted = self._lengths(feeds), self._wanted(outputs)
        binding = session.io_binding()
        held = {name: memory.filled(name, values) for name, values in feeds.items()}
        for name, array in held.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        bound = {}
        for item in wanted:
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

    def _wanted(self, outputs: Sequence[str]) -> list[TensorSpec]:
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
