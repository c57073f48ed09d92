"""The engines, one file each, loaded when asked for."""

from __future__ import annotations

import importlib

from foveate.runtime.engines.base import Engine
from foveate.runtime.errors import EngineError

ENGINES = {
    "onnxruntime": ("foveate.runtime.engines.onnxruntime", "cpu"),
    "onnxruntime-cuda": ("foveate.runtime.engines.onnxruntime_cuda", "gpu"),
}
"""Engine -> its module and the extra that installs it."""


def engine_from_onnx(name: str, graph: bytes, threads: int = 0) -> Engine:
    """Return an engine for the bytes of a fused graph.

    ``threads`` 0 leaves the choice to the engine. EngineError carries the install line.
    """
    if name not in ENGINES:
        raise EngineError(f'there is no engine "{name}"; this version has {", ".join(ENGINES)}')
    module_name, extra = ENGINES[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineError(
            f"the {name} engine cannot be loaded ({error}): pip install 'foveate[{extra}]'"
        ) from None
    engine: Engine = module.engine_from_onnx(graph, threads)
    return engine
