"""A stand-in for TensorRT-RTX that also "builds": a plan is the profile, a line, and the ONNX file.

For rehearsals of whole programs, with this folder's parent first on PYTHONPATH and real pycuda over
a stand-in for the driver: addresses are those of this process. It is no evidence of a GPU.
FOVEATE_REHEARSED_REFUSAL makes it refuse every plan with that text, as on a GPU it does not know.
"""

from __future__ import annotations

import enum
import json
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from tests.runtime.engines.tensorrt import standin_tensorrt as standin
from tests.runtime.engines.tensorrt.standin_tensorrt import (
    CudaGraphStrategy,
    DynamicShapesKernelSpecializationStrategy,
    TensorIOMode,
    over_host_memory,
)

__all__ = ["CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy", "TensorIOMode"]
__version__ = "0.standin"
Severity = standin.ILogger.Severity


class ILogger(standin.ILogger):
    INTERNAL_ERROR, ERROR, WARNING = Severity
    VERBOSE = object()


class Logger(ILogger):
    def __init__(self, severity: Any = None) -> None: ...

    def log(self, severity: Any, message: str) -> None: ...


class IProgressMonitor: ...


class BuilderFlag(enum.Enum):
    TF32 = 1


class NetworkDefinitionCreationFlag(enum.Enum):
    """RTX has no STRONGLY_TYPED: every network is."""


class ComputeCapability(enum.Enum):
    SM90 = 90


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes[name] = shapes


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []

    def clear_flag(self, flag: BuilderFlag) -> None: ...

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_compute_capability(self, capability: ComputeCapability, index: int) -> bool:
        return True


class Network:
    graph = b""

    def get_input(self, index: int) -> Any:
        model = onnx.load_from_string(self.graph)
        sides = model.graph.input[index].type.tensor_type.shape.dim
        return SimpleNamespace(shape=[side.dim_value or -1 for side in sides])


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network

    def parse(self, graph: bytes) -> bool:
        self.network.graph = graph
        return True


class Builder:
    def __init__(self, logger: Any) -> None: ...

    def create_network(self, flags: int = 0) -> Network:
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes:
        profiles = json.dumps([profile.shapes for profile in config.profiles])
        return profiles.encode() + b"\n" + without_float16(network.graph)


def without_float16(graph: bytes) -> bytes:
    """Return a graph with its float16 values in float32: a CPU would emulate them for minutes."""
    model = onnx.load_from_string(graph)
    for item in model.graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT16:
            values = onnx.numpy_helper.to_array(item).astype(np.float32)
            item.CopyFrom(onnx.numpy_helper.from_array(values, item.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        refusal = os.environ.get("FOVEATE_REHEARSED_REFUSAL")
        if refusal:
            self._logger.log(Severity.ERROR, refusal)
            return None
        profiles, graph = plan.split(b"\n", 1)
        made: Any = over_host_memory(json.loads(profiles)).module()
        return made.Runtime(self._logger).deserialize_cuda_engine(graph)


def nptype(dtype: Any) -> Any:
    return dtype
