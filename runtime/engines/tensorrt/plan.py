"""A TensorRT plan: deserialised once, run by one execution context per slot.

TensorRT 10 and 11 (``tensorrt``) and TensorRT-RTX (``tensorrt_rtx``) are used by the calls they
share. What only RTX has, its run-time settings, is in ``_rtx_config``.
"""

from __future__ import annotations

import importlib
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np

from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.cuda.device import Device, Stream
from foveate.runtime.engines.tensorrt.executor import Tensor
from foveate.runtime.engines.tensorrt.toolkit import FLAVOURS
from foveate.runtime.errors import DeviceMemoryError, EngineError
from foveate.runtime.limits import MAX_ELEMENTS

Shape = tuple[int, ...]
NO_MEMORY = re.compile("out ?of ?memory|insufficient memory|cudaMalloc", re.IGNORECASE)
"""Words of TensorRT's log where memory is short."""


@dataclass(frozen=True)
class PlanFacts:
    """What is known of a plan, apart from its bytes.

    ``flavour`` is tensorrt or tensorrt_rtx, ``version`` the one that built it, ``build_line`` the
    ``foveate build`` command that makes it anew. ``host_code``: it carries code for the CPU, as
    version-compatible plans do, and its verified record says so.
    """

    flavour: str
    version: str
    build_line: str
    host_code: bool = False


class Plan:
    """A deserialised plan. Everything is called with the device current.

    ``runtime_cache`` is what ``cache_bytes`` gave in an earlier process (RTX compiles kernels
    when it runs); ``cache_loaded`` says whether it was of use, None where there is no such thing.
    ``eager``: RTX compiles the kernels of a shape before its first run, not next to the runs.
    """

    def __init__(
        self, plan: bytes, facts: PlanFacts, runtime_cache: bytes = b"", eager: bool = False
    ) -> None:
        self.facts = facts
        self._trt = trt = _module(facts)
        self._log = _log(trt)
        self._runtime = self._opened()
        if facts.host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"{facts.flavour} {trt.__version__} refuses the plan that {facts.version} built: "
                f"{self._log.take()}. Rebuild it: {facts.build_line}"
            )
        self._config, self._cache, self.cache_loaded = None, None, None
        if facts.flavour == "tensorrt_rtx":
            self._config, self._cache, self.cache_loaded = _rtx_config(
                trt, self._engine, self._log, runtime_cache, eager
            )
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = self._specs(n for n in names if modes[n] == trt.TensorIOMode.INPUT)
        self.outputs = self._specs(n for n in names if modes[n] == trt.TensorIOMode.OUTPUT)
        self.profiles = tuple(
            {item.name: self._limits(item.name, index) for item in self.inputs}
            for index in range(self._engine.num_optimization_profiles)
        )

    def _opened(self) -> Any:
        """Return TensorRT's runtime; the bindings raise TypeError where it cannot start."""
        try:
            return self._trt.Runtime(self._log.logger)
        except Exception as error:
            version = f"{self.facts.flavour} {self._trt.__version__}"
            raise EngineError(
                f"{version} cannot start: {self._log.take(str(error))}. Is the driver new enough "
                "for it? foveate info shows both"
            ) from error

    def executor(self, device: Device) -> PlanExecutor:
        """Return an execution context of its own.

        DeviceMemoryError where the GPU has no room for it, EngineError for any other reason: RTX
        compiles for the GPU here, and an unsupported one is refused at this point too.
        """
        settings = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*settings)
        if context is None:
            said, free = self._log.take(), device.memory().free_bytes
            needed = int(self._engine.device_memory_size_v2)
            if needed > free or NO_MEMORY.search(said):
                raise DeviceMemoryError(
                    f"TensorRT cannot make an execution context: {said}. It takes "
                    f"{needed >> 20} MiB, {free >> 20} MiB of {device.name} are free. Use a plan "
                    f"for smaller batches or sizes: {self.facts.build_line}"
                )
            raise EngineError(
                f"{self.facts.flavour} {self._trt.__version__} cannot run the plan on "
                f"{device.name} ({device.sm}): {said}"
            )
        return PlanExecutor(self, context)

    def profile_for(self, shapes: Mapping[str, Shape]) -> int:
        """Return the first profile that covers the shapes; EngineError names what lies outside."""
        for index, limits in enumerate(self.profiles):
            if not any(_outside(shape, *limits[name]) for name, shape in shapes.items()):
                return index
        name, shape = next(iter(shapes.items()))
        ranges = " or ".join(_words(*limits[name]) for limits in self.profiles)
        raise EngineError(
            f'input "{name}" is {"x".join(map(str, shape))}; this plan takes {ranges}. '
            f"Build one that covers it: {self.facts.build_line}"
        )

    def reason(self) -> str:
        """Return what TensorRT said when something failed."""
        return self._log.take()

    def cache_bytes(self) -> bytes:
        """Return the kernels compiled so far, to be stored next to the plan; empty without RTX."""
        kernels = None if self._cache is None else self._cache.serialize()
        return b"" if kernels is None else bytes(memoryview(kernels))

    def close(self) -> None:
        """Free the plan; its executors are closed before it.

        In this order: RTX crashes where the kernels go before the settings that refer to them.
        """
        self._config = None
        self._cache = None
        self._engine = self._runtime = None

    def _specs(self, names: Any) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, str(self.dtype(name)), self._sides(name)) for name in names)

    def dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        return dtype

    def _sides(self, name: str) -> tuple[int | None, ...]:
        return tuple(None if n < 0 else int(n) for n in self._engine.get_tensor_shape(name))

    def _limits(self, name: str, profile: int) -> tuple[Shape, Shape]:
        least, _, most = self._engine.get_tensor_profile_shape(name, profile)
        return tuple(least), tuple(most)


class PlanExecutor:
    """One execution context. Full TensorRT may be captured; RTX has graphs of its own."""

    def __init__(self, plan: Plan, context: Any) -> None:
        self._plan, self._context = plan, context
        self.capturable = plan.facts.flavour == "tensorrt"
        self._profile = 0
        self._inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._addresses: dict[str, int] = {}

    def outputs_for(self, inputs: Mapping[str, Tensor], stream: Stream) -> dict[str, Tensor]:
        if inputs == self._inputs:
            return self._outputs
        self._inputs, self._addresses = {}, {}
        shapes = {name: kind.shape for name, kind in inputs.items()}
        profile = self._plan.profile_for(shapes)
        if profile != self._profile:
            self._must(self._context.set_optimization_profile_async(profile, stream.handle))
            self._profile = profile
        for name, shape in shapes.items():
            self._must(self._context.set_input_shape(name, shape))
        self._outputs = {item.name: self._output(item.name) for item in self._plan.outputs}
        self._inputs = dict(inputs)
        return self._outputs

    def enqueue(self, addresses: Mapping[str, int], stream: Stream) -> None:
        if addresses != self._addresses:
            for name, address in addresses.items():
                self._must(self._context.set_tensor_address(name, address))
            self._addresses = dict(addresses)
        self._must(self._context.execute_async_v3(stream.handle))

    def close(self) -> None:
        self._context = None

    def _output(self, name: str) -> Tensor:
        shape = tuple(int(side) for side in self._context.get_tensor_shape(name))
        if min(shape, default=1) < 0 or prod(shape) > MAX_ELEMENTS:
            raise EngineError(
                f'output "{name}" would be {"x".join(map(str, shape))}; expected known sides and '
                f"at most {MAX_ELEMENTS} elements. Use a smaller batch or smaller images"
            )
        return Tensor(shape, self._plan.dtype(name))

    def _must(self, done: bool) -> None:
        if not done:
            raise EngineError(f"TensorRT cannot run the plan: {self._plan.reason()}")


def _rtx_config(
    trt: Any, engine: Any, log: _Log, runtime_cache: bytes, eager: bool
) -> tuple[Any, Any, bool | None]:
    """Return RTX's run-time settings, its kernel cache, and whether the given bytes were of use.

    RTX replays its own graphs. Kernels for a shape are compiled next to its first runs, which
    general kernels do meanwhile; with ``eager`` before the first run, which waits for them.
    """
    config = engine.create_runtime_config()
    if config is None:
        raise EngineError(f"TensorRT-RTX cannot make its run-time settings: {log.take()}")
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kernels = trt.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER if eager else kernels.LAZY
    kept = config.create_runtime_cache()
    loaded = bool(kept.deserialize(runtime_cache)) if runtime_cache else None
    if not config.set_runtime_cache(kept):
        raise EngineError(f"TensorRT-RTX refuses its kernel cache: {log.take()}")
    return config, kept, loaded


def _module(facts: PlanFacts) -> Any:
    if facts.flavour not in FLAVOURS:
        raise EngineError(
            f'the plan is for "{facts.flavour}"; expected one of {", ".join(FLAVOURS)}. '
            f"Rebuild it: {facts.build_line}"
        )
    try:
        return importlib.import_module(facts.flavour)
    except ImportError as error:
        line = FLAVOURS[facts.flavour].install_line
        raise EngineError(f"the tensorrt engine cannot be loaded ({error}): {line}") from None


class _Log:
    """What TensorRT says when something fails, kept for our own messages."""

    def __init__(self, trt: Any) -> None:
        said = self._said = deque[str](maxlen=4)

        class Logger(trt.ILogger):  # type: ignore[misc]  # known when TensorRT is
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    said.append(" ".join(message.split())[:300])

        self.logger = Logger()

    def take(self, otherwise: str = "it does not say why") -> str:
        """Return what was said since the last time, oldest first: the cause, then what followed."""
        said = "; ".join(self._said)
        self._said.clear()
        return said or otherwise


@cache
def _log(trt: Any) -> _Log:
    """Return the one logger of a TensorRT module; it must outlive all that was made with it."""
    return _Log(trt)


def _outside(shape: Shape, least: Shape, most: Shape) -> bool:
    if len(shape) != len(least):
        return True
    return any(not a <= n <= b for n, a, b in zip(shape, least, most, strict=True))


def _words(least: Shape, most: Shape) -> str:
    sides = (str(a) if a == b else f"{a}..{b}" for a, b in zip(least, most, strict=True))
    return "x".join(sides)
