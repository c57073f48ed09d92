"""The engines, one file each, loaded when asked for."""

from __future__ import annotations

import importlib

from foveate.runtime.bundle import Bundle, graph_name
from foveate.runtime.engines.base import Engine
from foveate.runtime.errors import BundleError, EngineError, GraphError

ENGINES = {
    "onnxruntime": ("foveate.runtime.engines.onnxruntime", "cpu"),
    "onnxruntime-cuda": ("foveate.runtime.engines.onnxruntime_cuda", "gpu"),
}
"""Engine that runs the graph of a bundle -> its module and the extra that installs it."""
PLANNED = "tensorrt"
"""The engine that runs plans built from it."""


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines."""
    return (*ENGINES, PLANNED)


def engine_from_onnx(name: str, graph: bytes, threads: int = 0) -> Engine:
    """Return an engine for the bytes of a fused graph.

    ``threads`` 0 leaves the choice to the engine. EngineError carries the install line.
    """
    if name not in ENGINES:
        known = ", ".join(engine_names())
        raise EngineError(f'there is no engine "{name}"; this version has {known}')
    module_name, extra = ENGINES[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineError(
            f"the {name} engine cannot be loaded ({error}): pip install 'foveate[{extra}]'"
        ) from None
    engine: Engine = module.engine_from_onnx(graph, threads)
    return engine


def engine_from_bundle(
    bundle: Bundle, name: str, precision: str, threads: int = 0, latency: bool = False
) -> Engine:
    """Return an engine for a precision of a bundle.

    ``latency``: one run at a time, its end waited for by a busy core; for TensorRT, which else
    keeps several under way. Raises BundleError and EngineError.
    """
    if name == PLANNED:
        from foveate.runtime.engines.planned import PlannedEngine, plan_source
        from foveate.runtime.ring import LATENCY, RingSettings

        return PlannedEngine(plan_source(bundle, precision), LATENCY if latency else RingSettings())
    if precision == "tf32":
        raise EngineError(f"tf32 is a precision of the tensorrt engine; {name} has none of it")
    if name == "onnxruntime" and precision == "fp16":
        raise EngineError(
            "onnxruntime has no fp16 arithmetic on a CPU and would emulate it for minutes; "
            "use fp32 here"
        )
    try:
        return engine_from_onnx(name, bundle.graph(precision), threads)
    except GraphError as error:
        raise BundleError(f"{bundle.folder / graph_name(precision)}: {error}") from error
