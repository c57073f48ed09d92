"""TensorRT on an NVIDIA GPU, by way of a ring of slots. Runs plans; never builds one."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from foveate.runtime.arrays import HOST, Array, Feed, GpuArray
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.cuda.device import Device
from foveate.runtime.engines.tensorrt.executor import tensor_of
from foveate.runtime.engines.tensorrt.plan import Plan, PlanFacts
from foveate.runtime.engines.tensorrt.slot import PendingRun
from foveate.runtime.engines.tensorrt.slot_ring import RingSettings, SlotRing
from foveate.runtime.errors import EngineError, ImageError


class PlanEngine(Closeable):
    """A plan on a device. Safe from several threads; ``submit`` keeps several runs under way.

    What it holds is freed by ``close``, or when it is forgotten, or at exit.
    """

    name = "tensorrt"

    def __init__(
        self,
        plan: bytes,
        facts: PlanFacts,
        device: Device,
        settings: RingSettings = RingSettings(),  # noqa: B008  # frozen
        runtime_cache: bytes = b"",
    ) -> None:
        self.device = device
        with ExitStack() as made, device.current():
            self._plan = Plan(plan, facts, runtime_cache, settings.eager)
            made.callback(_free, device, self._plan)
            self._ring = SlotRing(device, partial(self._plan.executor, device), settings)
            made.callback(self._ring.close)
            self._end = weakref.finalize(self, _end, os.getpid(), made.pop_all())
        self.inputs, self.outputs = self._plan.inputs, self._plan.outputs
        self.cache_loaded = self._plan.cache_loaded

    @property
    def max_in_flight(self) -> int:
        """How many runs can be in flight at once."""
        return len(self._ring)

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        return self.submit(feeds, outputs).result().outputs

    def submit(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> PendingRun:
        """Start a run; several may be in flight, and they end in order."""
        _check_feeds(self.inputs, feeds)
        _check_names("output", [item.name for item in self.outputs], outputs)
        _check_gpu(self.device, [*feeds.values(), *into.values()])
        return self._ring.submit(feeds, outputs, into)

    def runtime_cache(self) -> bytes:
        """Return the kernels that RTX compiled, for the next process; empty without RTX."""
        with self.device.current():
            return self._plan.cache_bytes()

    def close(self) -> None:
        self._end()


def _end(process: int, parts: ExitStack) -> None:
    """Free an engine's parts; not in a fork, which would wait for a context that is not its own."""
    if os.getpid() == process:
        parts.close()


def _free(device: Device, plan: Plan) -> None:
    with device.current():
        plan.close()


def _check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, Feed]) -> None:
    names = [item.name for item in specs]
    _check_names("input", names, list(feeds))
    for item in specs:
        if item.name not in feeds:
            raise EngineError(f'input "{item.name}" is missing; expected {", ".join(names)}')
        found = str(tensor_of(feeds[item.name]).dtype)
        if found != item.dtype:
            raise EngineError(f'input "{item.name}" is {found}; expected {item.dtype}')


def _check_gpu(device: Device, arrays: Sequence[Feed]) -> None:
    """Raise ImageError for an array that is not in the memory of the device."""
    foreign = [array for array in arrays if isinstance(array, GpuArray)]
    if not foreign:
        return
    with device.current():
        places = [device.gpu_of(array.address) for array in foreign]
    for array, place in zip(foreign, places, strict=True):
        if place is None:
            raise ImageError(
                f"no GPU holds the address {array.address:#x} of an image or its mask; expected "
                f"memory of GPU {device.index}"
            )
        if place != device.index:
            raise ImageError(
                f"an image or its mask is on GPU {place}, and this cascade runs on GPU "
                f"{device.index}: copy it there, or load the bundle with gpu={place}"
            )


def _check_names(kind: str, known: Sequence[str], expected: Sequence[str]) -> None:
    for name in expected:
        if name not in known:
            raise EngineError(f'there is no {kind} "{name}"; the plan has {", ".join(known)}')
