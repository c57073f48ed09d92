"""The calls of TensorRT we make, held against the real bindings where they are installed."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from foveate.runtime.engines.tensorrt_plan import Plan, PlanFacts
from foveate.runtime.errors import EngineError
from tests.runtime import standin_tensorrt

SHARED = {
    "Runtime": ("deserialize_cuda_engine",),
    "ILogger": ("log", "Severity"),
    "TensorIOMode": ("INPUT", "OUTPUT"),
    "ICudaEngine": (
        "num_io_tensors",
        "num_optimization_profiles",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
        "get_tensor_shape",
        "get_tensor_profile_shape",
        "create_execution_context",
    ),
    "IExecutionContext": (
        "set_optimization_profile_async",
        "set_input_shape",
        "get_tensor_shape",
        "set_tensor_address",
        "execute_async_v3",
    ),
}
RTX = {
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": (
        "cuda_graph_strategy",
        "dynamic_shapes_kernel_specialization_strategy",
        "create_runtime_cache",
        "set_runtime_cache",
    ),
    "IRuntimeCache": ("serialize", "deserialize"),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
}
MODULES = {
    "tensorrt": SHARED,
    "tensorrt_lean": SHARED,
    "tensorrt_rtx": {n: SHARED.get(n, ()) + RTX.get(n, ()) for n in SHARED | RTX},
}


@pytest.fixture(params=MODULES)
def bindings(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(request.param)


def test_every_call_is_there(bindings: ModuleType) -> None:
    for kind, names in MODULES[bindings.__name__].items():
        missing = [name for name in names if not hasattr(getattr(bindings, kind), name)]
        assert not missing, f"{kind} has no {missing}"
    assert callable(bindings.nptype)


@pytest.mark.parametrize(
    ("kind", "call", "signature"),
    [
        ("IExecutionContext", "set_input_shape", "name: str, shape: tuple) -> bool"),
        ("IExecutionContext", "get_tensor_shape", "name: str)"),
        ("IExecutionContext", "set_tensor_address", "name: str, memory: "),
        ("IExecutionContext", "execute_async_v3", "stream_handle: "),
        ("IExecutionContext", "set_optimization_profile_async", "profile_index: "),
        ("ICudaEngine", "get_tensor_profile_shape", "name: str, profile_index: "),
        ("Runtime", "deserialize_cuda_engine", "serialized_engine: "),
    ],
)
def test_the_signatures_are_those_we_call(
    bindings: ModuleType, kind: str, call: str, signature: str
) -> None:
    assert signature in getattr(getattr(bindings, kind), call).__doc__


def test_the_stand_in_invents_no_names() -> None:
    real = importlib.import_module(pytest.importorskip("tensorrt_rtx").__name__)
    for kind in ("ICudaEngine", "IExecutionContext", "IRuntimeConfig", "IRuntimeCache", "ILogger"):
        used = set(SHARED.get(kind, ())) | set(RTX.get(kind, ()))
        for name in used:
            assert hasattr(getattr(real, kind), name)
            assert hasattr(getattr(standin_tensorrt, kind), name) or name.startswith("num_")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_the_real_bindings_refuse_a_plan_with_their_reason(flavour: str) -> None:
    pytest.importorskip(flavour)
    with pytest.raises(EngineError, match="refuses the plan that 0 built: .*[Ss]erializ.*B$"):
        Plan(b"this is no plan " * 100, PlanFacts(flavour, "0", "B"))
