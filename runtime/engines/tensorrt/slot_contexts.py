"""The execution contexts of a slot, each with the CUDA graph captured from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from foveate.runtime.engines.cuda.device import Device, Graph, Stream
from foveate.runtime.engines.tensorrt.executor import Executor, Tensor
from foveate.runtime.errors import DeviceMemoryError, EngineError

MOST_CONTEXTS = 3
"""As many image sizes, alternating in a slot, are replayed."""


class SlotContext:
    """An executor, the shapes it ran last, and the graph of that run."""

    def __init__(self, device: Device, executor: Executor) -> None:
        self._device, self.executor = device, executor
        self.capturable = executor.capturable
        self.inputs: Mapping[str, Tensor] = {}
        self._addresses: Mapping[str, int] = {}
        self._graph: Graph | None = None

    def run(self, addresses: Mapping[str, int], stream: Stream) -> bool:
        """Put the run into the stream and return whether it is the replay of a graph.

        The first run of shapes and addresses is plain: it lets an engine settle what a graph must
        not contain. The second is captured, all later ones replay it. Where a capture is refused
        runs stay plain for good.
        """
        again = addresses == self._addresses
        if not again:
            self.forget()
        elif self._graph is None and self.capturable:
            self._graph = self._device.capture(
                stream, lambda: self.executor.enqueue(addresses, stream)
            )
            if self._graph is None:
                self.capturable = False
                self._enqueue_after_refusal(addresses, stream)
                return False
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self.executor.enqueue(addresses, stream)
        self._addresses = dict(addresses)
        return self._graph is not None

    def forget(self) -> None:
        """Drop the graph; the next run is plain."""
        graph, self._graph, self._addresses = self._graph, None, {}
        if graph is not None:
            graph.close()

    def close(self) -> None:
        with ExitStack() as parts:
            parts.callback(self.executor.close)
            parts.callback(self.forget)

    def _enqueue_after_refusal(self, addresses: Mapping[str, int], stream: Stream) -> None:
        """Run plainly; the error of a failed capture may still be what the first attempt meets."""
        try:
            self.executor.enqueue(addresses, stream)
        except EngineError:
            self.executor.enqueue(addresses, stream)


class SlotContexts:
    """One context, and more where image sizes alternate: a graph belongs to its context's state.

    A further context is made when a size returns that no context holds any more, up to
    ``MOST_CONTEXTS``, and none where the device has no room for it. Sizes that come once share one.
    """

    def __init__(self, device: Device, make_executor: Callable[[], Executor]) -> None:
        self._device, self._make_executor = device, make_executor
        self._contexts = [SlotContext(device, make_executor())]  # the least recently used first
        self._most = MOST_CONTEXTS
        self._recent: deque[Mapping[str, Tensor]] = deque(maxlen=MOST_CONTEXTS)

    def take(self, inputs: Mapping[str, Tensor]) -> SlotContext:
        """Return the context for a run on these inputs."""
        held = [context for context in self._contexts if context.inputs == inputs]
        chosen = held[0] if held else self._other(inputs)
        self._contexts.remove(chosen)
        self._contexts.append(chosen)
        return chosen

    def keep_only(self, context: SlotContext) -> bool:
        """Free every other context, for good; return whether there was one."""
        others = [other for other in self._contexts if other is not context]
        self._contexts, self._most = [context], 1
        for other in others:
            other.close()
        return bool(others)

    def forget(self) -> None:
        """Drop all graphs."""
        for context in self._contexts:
            context.forget()

    def close(self) -> None:
        """Free everything, also what comes after a failure."""
        with ExitStack() as parts:
            for context in self._contexts:
                parts.callback(context.close)

    def _other(self, inputs: Mapping[str, Tensor]) -> SlotContext:
        """Return a context for inputs that none holds."""
        chosen = self._contexts[0]
        if inputs in self._recent and chosen.capturable and len(self._contexts) < self._most:
            try:
                chosen = SlotContext(self._device, self._make_executor())
                self._contexts.append(chosen)
            except DeviceMemoryError:
                self._most = len(self._contexts)
        self._recent.append(dict(inputs))
        chosen.forget()
        chosen.inputs = dict(inputs)
        return chosen
