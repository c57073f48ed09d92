"""The memory of a slot: page-locked and on the device, grown to the largest run so far."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby

from foveate.runtime.arrays import Array
from foveate.runtime.engines.cuda.device import Bytes, Device, DeviceBuffer, HostBuffer, Stream
from foveate.runtime.engines.tensorrt.executor import Tensor

ALIGNMENT = 256
"""Bytes that the address of every tensor is a multiple of."""
OUTPUTS = "outputs"
"""The name of the buffers that hold all outputs; an input has buffers of its own name."""


class SlotMemory:
    """Places the tensors of one run at a time. Called with the device current.

    All outputs lie one after the other in one buffer, in the order in which the executor names
    them, so that one copy brings those that are next to each other. On a device that shares its
    memory with the CPU, what the host reads or writes lies in page-locked memory alone.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pinned: dict[str, HostBuffer] = {}
        self._memory: dict[str, DeviceBuffer] = {}
        self._offsets: dict[str, int] = {}
        self._outputs: Mapping[str, Tensor] = {}

    def place(
        self,
        inputs: Mapping[str, Tensor],
        hosted: Collection[str],
        outputs: Mapping[str, Tensor],
        fetched: Collection[str],
    ) -> dict[str, int]:
        """Return the address of every tensor of a run, growing what is too small.

        ``hosted`` inputs are written by the host, ``fetched`` outputs read by it.
        """
        found = {}
        for name, kind in inputs.items():
            mapped = self._host(name, kind.nbytes) if name in hosted else None
            found[name] = self._on_device(name, kind.nbytes) if mapped is None else mapped
        self._outputs, self._offsets, end, read_end = outputs, {}, 0, 0
        for name, kind in outputs.items():
            self._offsets[name] = end
            end += -(-kind.nbytes // ALIGNMENT) * ALIGNMENT
            if name in fetched:
                read_end = self._offsets[name] + kind.nbytes
        mapped = self._host(OUTPUTS, read_end) if fetched else None
        own = mapped is None or any(name not in fetched for name in outputs)
        start = self._on_device(OUTPUTS, end) if own else 0
        for name, offset in self._offsets.items():
            base = start if mapped is None or name not in fetched else mapped
            found[name] = base + offset
        return found

    def input_view(self, name: str, kind: Tensor) -> Array:
        """Return the page-locked memory of an input as a tensor, without a copy."""
        return _view(self._pinned[name].array, 0, kind)

    def output_view(self, name: str) -> Array:
        """Return the page-locked memory of a fetched output as a tensor, without a copy."""
        return _view(self._pinned[OUTPUTS].array, self._offsets[name], self._outputs[name])

    def copy_in(self, stream: Stream, name: str, kind: Tensor, address: int) -> None:
        """Put the copy of an input into the stream, where the device does not see it as it is."""
        pinned = self._pinned[name]
        if pinned.address is None:
            stream.to_device(address, pinned.array[: kind.nbytes])

    def copy_out(self, stream: Stream, fetched: Collection[str]) -> None:
        """Put the copies of the fetched outputs into the stream: one for neighbours."""
        pinned = self._pinned.get(OUTPUTS)
        if not fetched or pinned is None or pinned.address is not None:
            return
        start = self._memory[OUTPUTS].address
        for first, end in self._runs(fetched):
            stream.to_host(pinned.array[first:end], start + first)

    def close(self) -> None:
        """Free everything, also what comes after a failure."""
        with ExitStack() as parts:
            for pinned in self._pinned.values():
                parts.callback(pinned.close)
            for memory in self._memory.values():
                parts.callback(memory.close)
            self._pinned, self._memory = {}, {}

    def _runs(self, fetched: Collection[str]) -> Iterator[tuple[int, int]]:
        """Yield the first byte and the end of outputs that are fetched and lie together."""
        for is_fetched, names in groupby(self._outputs, lambda name: name in fetched):
            if is_fetched:
                first, *others = names
                last = others[-1] if others else first
                yield self._offsets[first], self._offsets[last] + self._outputs[last].nbytes

    def _host(self, name: str, nbytes: int) -> int | None:
        """Grow page-locked memory; return where the device sees it, None where it does not."""
        held = self._pinned.get(name)
        if held is None or len(held.array) < nbytes:
            if held is not None:
                self._pinned.pop(name).close()
            held = self._pinned[name] = self._device.host_buffer(nbytes)
        return held.address

    def _on_device(self, name: str, nbytes: int) -> int:
        """Grow memory of the device and return its address."""
        held = self._memory.get(name)
        if held is None or held.nbytes < nbytes:
            if held is not None:
                self._memory.pop(name).close()
            held = self._memory[name] = self._device.device_buffer(nbytes)
        return held.address


def _view(memory: Bytes, offset: int, kind: Tensor) -> Array:
    view: Array = memory[offset : offset + kind.nbytes].view(kind.dtype).reshape(kind.shape)
    return view
