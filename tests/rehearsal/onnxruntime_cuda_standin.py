"""A stand-in for the engine of ONNX Runtime's CUDA provider: the same graphs on the CPU."""

from __future__ import annotations

from tensorrt_rtx import without_float16

from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine


def engine_from_onnx(graph: bytes, threads: int = 0, gpu: int = 0) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(without_float16(graph), threads)
