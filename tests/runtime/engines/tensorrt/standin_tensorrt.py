"""A stand-in for ``tensorrt`` and ``tensorrt_rtx``: a "plan" is an ONNX file, run by ONNX Runtime.

It answers the calls our engine makes, in the real bindings' words (``test_tensorrt_api`` holds the
names against them), and is no evidence of what TensorRT computes or how fast. Where the "device" is
and what a stream is are given: the fake device of the tests, or host memory.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from foveate.runtime.engines.cuda.device import Bytes
from tests.runtime.engines.cuda.fake_device import FakeDevice

CONTEXT_BYTES = 1 << 20
"""What an execution context takes, as the real one would say."""
Shape = tuple[int, ...]
Profiles = Sequence[Mapping[str, tuple[Shape, Shape, Shape]]]
Read = Callable[[int, int], Bytes]
Put = Callable[[int, Callable[[], None]], None]


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class IRuntimeCache:
    """Holds one byte string; takes only what another one gave."""

    def deserialize(self, blob: bytes) -> bool:
        return blob == b"kernels"

    def serialize(self) -> bytearray:
        return bytearray(b"kernels")


class IRuntimeConfig:
    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self.cache = cache
        return not self.refuses


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, config: IRuntimeConfig | None) -> None:
        self.engine, self.config = engine, config
        self.profile = 0
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.profile, self.shapes, self.addresses = profile_index, {}, {}
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        least, _, most = self.engine.standin.profiles[self.profile][name]
        self.shapes[name] = tuple(shape)
        return all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> Shape:
        return self.engine.output_shapes(self.shapes)[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.engine.standin.refuse_runs:
            self.engine.standin.say("enqueue: no")
            return False
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        self.engine.standin.put(stream_handle, lambda: self.engine.run(shapes, addresses))
        return True


class ICudaEngine:
    def __init__(self, standin: StandIn, plan: bytes) -> None:
        self.standin = standin
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            plan, options, providers=["CPUExecutionProvider"]
        )
        self.items = {i.name: i for i in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.items)
        self.device_memory_size_v2 = standin.least_context_bytes
        self.num_optimization_profiles = len(standin.profiles)
        self._shapes: dict[tuple[tuple[str, Shape], ...], dict[str, Shape]] = {}

    def get_tensor_name(self, index: int) -> str:
        return list(self.items)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        is_input = name in {item.name for item in self.session.get_inputs()}
        return TensorIOMode.INPUT if is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[self.items[name].type]

    def get_tensor_shape(self, name: str) -> Shape:
        return tuple(n if isinstance(n, int) else -1 for n in self.items[name].shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        return list(self.standin.profiles[profile_index][name])

    def create_runtime_config(self) -> IRuntimeConfig | None:
        assert self.standin.rtx, "only RTX is asked for its run-time settings"
        if self.standin.fails == "config":
            self.standin.say("no settings")
            return None
        return IRuntimeConfig(self.standin.fails == "cache")

    def create_execution_context(
        self, runtime_config: IRuntimeConfig | None = None
    ) -> IExecutionContext | None:
        if self.standin.fails == "context":
            self.standin.say("compute capability 9.0 is not supported")
            return None
        if sum(context.engine is self for context in self.standin.contexts) == (
            self.standin.most_contexts
        ):
            self.standin.say("out of memory")
            return None
        self.standin.contexts.append(IExecutionContext(self, runtime_config))
        return self.standin.contexts[-1]

    def output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        key = tuple(shapes.items())
        if key not in self._shapes:
            feeds = {n: np.zeros(s, self.get_tensor_dtype(n)) for n, s in shapes.items()}
            names = [item.name for item in self.session.get_outputs()]
            found = self.session.run(names, feeds)
            self._shapes[key] = {n: f.shape for n, f in zip(names, found, strict=True)}
        return self._shapes[key]

    def run(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        feeds = {}
        for name, shape in shapes.items():
            dtype = np.dtype(self.get_tensor_dtype(name))
            nbytes = int(np.prod(shape)) * dtype.itemsize
            feeds[name] = self.standin.read(addresses[name], nbytes).view(dtype).reshape(shape)
        names = [item.name for item in self.session.get_outputs()]
        for name, found in zip(names, self.session.run(names, feeds), strict=True):
            target = self.standin.read(addresses[name], found.nbytes)
            target[:] = np.frombuffer(found.tobytes(), np.uint8)


class StandIn:
    """The module's state: what it reads and runs on, and what it refuses.

    ``fails`` is what cannot start: "runtime", "config", "cache" or "context".
    """

    def __init__(self, profiles: Profiles, read: Read, put: Put, rtx: bool = True) -> None:
        self.profiles, self.read, self.put, self.rtx = profiles, read, put, rtx
        self.refuse_runs, self.fails, self.host_code = False, "", False
        self.least_context_bytes = CONTEXT_BYTES
        self.most_contexts = -1
        self.contexts: list[IExecutionContext] = []
        self.loggers: list[ILogger] = []

    def say(self, message: str) -> None:
        self.loggers[-1].log(ILogger.Severity.ERROR, message)

    def module(self) -> types.ModuleType:
        """Return what is put into ``sys.modules`` under a flavour's name."""
        standin = self

        class Runtime:
            engine_host_code_allowed = False

            def __init__(self, logger: ILogger) -> None:
                standin.loggers.append(logger)
                if standin.fails == "runtime":
                    standin.say("CUDA initialization failure with error: 35")
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
                if standin.host_code and not self.engine_host_code_allowed:
                    standin.say("the plan carries host code, which is not allowed")
                    return None
                try:
                    return ICudaEngine(standin, serialized_engine)
                except Exception:
                    standin.say("the magic tag does not match")
                    return None

        made = types.ModuleType("tensorrt_rtx" if self.rtx else "tensorrt")
        common = {"Runtime": Runtime, "ILogger": ILogger, "TensorIOMode": TensorIOMode}
        made.__dict__.update(common, __version__="0.standin", nptype=lambda dtype: dtype)
        if self.rtx:
            strategy = DynamicShapesKernelSpecializationStrategy
            made.__dict__.update(CudaGraphStrategy=CudaGraphStrategy)
            made.__dict__.update(DynamicShapesKernelSpecializationStrategy=strategy)
        return made


def over_fake(device: FakeDevice, profiles: Profiles, rtx: bool = True) -> StandIn:
    """Return a stand-in that runs in the fake device's streams, on its memory."""

    def put(handle: int, work: Callable[[], None]) -> None:
        device.streams[handle].put("execute", work)

    return StandIn(profiles, device.at, put, rtx)


def over_host_memory(profiles: Profiles) -> StandIn:
    """Return a stand-in that runs at once, where addresses are those of this process."""

    def read(address: int, nbytes: int) -> Bytes:
        return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)

    return StandIn(profiles, read, lambda handle, work: work())
