"""CUDA graphs, foreign streams and pointers through cuda-bindings, which pycuda lacks.

``pycuda_device`` loads the module and passes it in.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from foveate.runtime.engines.cuda.driver_errors import restart_advice
from foveate.runtime.errors import EngineError

DISABLE_TIMING = 2
"""CU_EVENT_DISABLE_TIMING."""
NOT_A_POINTER = 1
"""CUDA_ERROR_INVALID_VALUE: the status for an address that the driver did not allocate."""


class BoundDriver:
    """The driver module of cuda-bindings; failed calls raise EngineError."""

    def __init__(self, module: Any, gpu: str) -> None:
        self._module, self._gpu = module, gpu

    def follow(self, mine: int, other: int) -> None:
        """Make stream ``mine`` wait for the work now in stream ``other``; both are handles."""
        event = self._call("cuEventCreate", DISABLE_TIMING)
        try:
            self._call("cuEventRecord", event, self._stream(other))
            self._call("cuStreamWaitEvent", self._stream(mine), event, 0)
        finally:
            self._call("cuEventDestroy", event)  # the driver keeps it until it has passed

    def gpu_of(self, address: int) -> int | None:
        """Return the number of the GPU that owns an address, None if no GPU does."""
        ordinal = self._module.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        status, found = self._raw("cuPointerGetAttribute", ordinal, address)
        if int(status) == NOT_A_POINTER:
            return None
        self._check("cuPointerGetAttribute", status)
        return int(found)

    def captured(self, stream: int, work: Callable[[], None]) -> Any:
        """Return the executable graph of what ``work`` enqueues, None if capture is refused.

        Garbage collection is off meanwhile: freeing a CUDA object would end the capture.
        """
        handle, graph = self._stream(stream), None
        mode = self._module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._call("cuStreamBeginCapture", handle, mode)
            try:
                work()
            finally:
                status, graph = self._raw("cuStreamEndCapture", handle)
            self._check("cuStreamEndCapture", status)
            return self._call("cuGraphInstantiate", graph, 0)
        except EngineError:
            return None
        finally:
            if graph is not None and int(graph):
                self._raw("cuGraphDestroy", graph)
            if collecting:
                gc.enable()

    def launch(self, graph: Any, stream: int) -> None:
        self._call("cuGraphLaunch", graph, self._stream(stream))

    def destroy(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _stream(self, handle: int) -> Any:
        return self._module.CUstream(handle)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Return the first value that a driver function returns after its status."""
        status, *found = self._raw(name, *arguments)
        self._check(name, status)
        return found[0] if found else None

    def _raw(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        try:
            return tuple(getattr(self._module, name)(*arguments))
        except RuntimeError as error:  # cuda-bindings newer than the driver does not find it
            raise EngineError(
                f"{self._gpu}: cuda-bindings cannot call {name} ({error}). They are newer than the "
                "driver: pip install 'cuda-bindings<13' where nvidia-smi shows CUDA 12"
            ) from error

    def _check(self, name: str, status: Any) -> None:
        if int(status):
            said = f"{self._gpu}: {name} failed: {status.name}"
            raise EngineError(said + restart_advice(int(status)))
