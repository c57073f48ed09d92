"""Open an engine by its name, with the settings of the load; engines are imported on demand."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from numbers import Integral

from foveate.runtime.bundle.bundle import Bundle, graph_name
from foveate.runtime.engines.base import Engine
from foveate.runtime.engines.hardware import processor
from foveate.runtime.errors import BundleError, EngineError, GraphError, SettingsError
from foveate.runtime.spec import BF16, TF32, graph_of

MOST_THREADS = 1024
ENGINES = {
    "onnxruntime": ("foveate.runtime.engines.onnxruntime", "cpu"),
    "openvino": ("foveate.runtime.engines.openvino", "openvino"),
    "openvino-gpu": ("foveate.runtime.engines.openvino_gpu", "openvino"),
    "onnxruntime-cuda": ("foveate.runtime.engines.onnxruntime_cuda", "gpu"),
}
"""Engine that runs the graph of a bundle -> its module and the extra that installs it."""
TENSORRT = "tensorrt"
"""The engine that runs plans built from it."""
ROUNDED = {TF32: TENSORRT, BF16: "openvino"}
"""Precision that an engine makes of the float32 graph -> the only engine that does."""
REFUSED = {
    ("onnxruntime", "fp16"): "onnxruntime has no fp16 arithmetic on a CPU and would emulate it for "
    "minutes; use fp32 here",
    ("openvino", "fp16"): "openvino has no fp16 arithmetic on a CPU and would compute in float32 "
    "with rounded weights; use fp32 or bf16 here",
    ("openvino-gpu", "fp16"): "openvino-gpu keeps the geometry in float32 by a hint that would do "
    "the same to the networks; use fp32 or int8 here",
    ("onnxruntime-cuda", "int8"): "onnxruntime-cuda has no int8 convolutions and would compute in "
    "float32 with rounded values; use fp32 or fp16 here",
    (TENSORRT, "int8"): "TensorRT reads signed 8 bits without a zero point alone, and the int8 "
    "graph is made for CPUs; use fp16 here",
}
"""Engine and precision that do not go together -> why, and what to use."""
CUT_INT8 = (
    "openvino cuts sums of int8 products off at 16 bits on this processor, which has no VNNI; use "
    "onnxruntime, or fp32, here"
)


@dataclass(frozen=True)
class LoadSettings:
    """The keywords of ``Cascade.load``, which says what they mean; SettingsError for others."""

    threads: int = 0
    latency: bool = False
    gpu: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.threads) or not 0 <= self.threads <= MOST_THREADS:
            raise SettingsError(
                f"threads is {self.threads!r}; expected 0 to {MOST_THREADS}, 0 for all cores"
            )
        if not is_whole(self.gpu) or self.gpu < 0:
            raise SettingsError(f"gpu is {self.gpu!r}; expected the number of a GPU, from 0")


def is_whole(value: object) -> bool:
    """Say whether a value is a whole number, Python's or numpy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines."""
    return (*ENGINES, TENSORRT)


def engine_from_onnx(
    name: str,
    graph: bytes,
    threads: int = 0,
    bf16: bool = False,
    gpu: int = 0,
    sha256: str = "",
) -> Engine:
    """Return an engine for the bytes of a fused graph.

    ``threads`` 0 leaves the choice to the engine. ``bf16``: of openvino, which then computes the
    networks of a float32 graph in bfloat16. ``gpu``: of onnxruntime-cuda, the number of
    the GPU. ``sha256`` is the graph's where it is known; openvino else computes it. EngineError
    carries the install line.
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
    options: dict[str, object] = {"bf16": True} if bf16 else {}
    if name == "onnxruntime-cuda":
        options["gpu"] = gpu
    if extra == "openvino":
        options["sha256"] = sha256
    engine: Engine = module.engine_from_onnx(graph, threads, **options)
    return engine


def engine_from_bundle(bundle: Bundle, name: str, precision: str, settings: LoadSettings) -> Engine:
    """Return an engine for a precision of a bundle.

    ``latency`` is TensorRT's alone: one run at a time, its end waited for by a busy core, where
    else several are under way. Raises BundleError and EngineError.
    """
    owner = ROUNDED.get(precision, name)
    if name != owner:
        raise EngineError(
            f"{precision} is a precision of the {owner} engine; {name} does not have it"
        )
    if (name, precision) in REFUSED:
        raise EngineError(REFUSED[name, precision])
    if (name, precision) == ("openvino", "int8") and processor().cuts_int8:
        raise EngineError(CUT_INT8)
    if name == TENSORRT:
        from foveate.runtime.engines.tensorrt.engine import TensorRTEngine, plan_source
        from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings

        ring = LATENCY if settings.latency else RingSettings()
        return TensorRTEngine(plan_source(bundle, precision, settings.gpu), ring)
    graph = graph_of(precision)
    try:
        onnx = bundle.graph(graph)
        sha256 = bundle.graph_sha256(graph)
        bf16 = precision == BF16
        return engine_from_onnx(name, onnx, settings.threads, bf16, settings.gpu, sha256)
    except GraphError as error:
        raise BundleError(f"{bundle.path / graph_name(graph)}: {error}") from error
