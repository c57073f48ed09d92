"""What the engines on ONNX Runtime share: options of a session, specs of its tensors, its words."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from foveate.runtime.engines.base import TensorSpec, available_cores

TYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of types that numpy calls otherwise."""


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Return options for one graph at a time.

    ``threads`` 0 takes the cores this process may use, not those of the machine, so that a
    container or ``taskset`` is respected.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what goes wrong is raised, once, by name
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def tensor_specs(items: Sequence[onnxruntime.NodeArg]) -> tuple[TensorSpec, ...]:
    """Return what a session says of its inputs or outputs."""
    return tuple(_spec(item) for item in items)


def short(error: Exception) -> str:
    """Return an error of ONNX Runtime as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def _spec(item: onnxruntime.NodeArg) -> TensorSpec:
    sides = (side if isinstance(side, int) else None for side in item.shape)
    dtype = item.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(item.name, TYPES.get(dtype, dtype), tuple(sides))
