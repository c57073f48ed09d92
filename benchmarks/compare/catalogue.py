"""Who foveate is compared with: each peer by its key, its name and what makes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import onnxruntime
import torch

from foveate.benchmarks.compare.handwritten_cascade import HandwrittenCascade, Network
from foveate.benchmarks.compare.networks import Stages
from foveate.benchmarks.compare.onnxruntime_networks import CUDA, has_cuda, onnxruntime_network
from foveate.benchmarks.compare.torch_networks import TorchWay, torch_network
from foveate.benchmarks.compare.torch_whole import whole_cascade
from foveate.benchmarks.measure.baseline import CPU
from foveate.runtime.arrays import Pixels
from foveate.runtime.errors import EngineError

GLUE = "numpy + OpenCV glue"
Batch = Callable[[Sequence[Pixels]], Sequence[tuple[Any, Any]]]
"""Images to the mask (H, W) and the box (4,) of each."""


@dataclass(frozen=True)
class Peer:
    """One way to run the same two networks.

    ``network`` makes a stage's network from its name, stage1 or stage2, and raises EngineError
    where that cannot run.
    """

    key: str
    name: str
    how: str
    network: Callable[[str], Network]

    def open(self, stages: Stages, images: Sequence[Pixels]) -> Batch:
        """Return the peer's cascade, ready to run; EngineError where it cannot."""
        return HandwrittenCascade(stages.spec, *map(self.network, stages.graphs)).batch


@dataclass(frozen=True)
class WholePeer:
    """The whole cascade in PyTorch on a GPU, geometry included."""

    key: str
    name: str
    how: str
    way: TorchWay

    def open(self, stages: Stages, images: Sequence[Pixels]) -> Batch:
        """Return the cascade, compiled for these images; EngineError where it cannot run."""
        return whole_cascade(copy.deepcopy(stages.cascade), self.way, images)


@dataclass(frozen=True)
class _Batch:
    """The stages, and how many images they get a call."""

    stages: Stages
    images: int

    def shape(self, stage: str) -> list[int]:
        return self.stages.shape(stage, self.images)


def cpu_peers(stages: Stages, threads: int, batch: int = 1) -> list[Peer]:
    """Return every peer on the CPU, made for so many images a call."""
    shapes = _Batch(stages, batch)
    best = TorchWay(channels_last=True, compiled=True)
    return [
        _torch(shapes, "a", "PyTorch eager loop", TorchWay(), "as in a notebook"),
        _torch(shapes, "b-fp32", "PyTorch compiled fp32", best, "channels_last, torch.compile"),
        _torch(
            shapes, "b-bf16", "PyTorch compiled bf16",
            TorchWay(dtype=torch.bfloat16, channels_last=True, compiled=True),
            "channels_last, torch.compile, autocast bfloat16",
        ),
        _onnxruntime(stages, "c", "", threads, CPU),
        _openvino(shapes, "d-fp32", "f32", threads),
        _openvino(shapes, "d-bf16", "bf16", threads),
        *([_openvino(shapes, "d-int8", "int8", threads)] if stages.int8 else []),
    ]  # fmt: skip


def gpu_peers(stages: Stages, threads: int) -> list[Peer | WholePeer]:
    """Return every peer on the GPU; those in PyTorch have keys that start with gpu-torch."""
    half = TorchWay("cuda", torch.float16, channels_last=True)
    words = f"PyTorch {_version('torch')}, the whole cascade on the GPU"
    return [
        WholePeer(
            "gpu-torch-fp32", "PyTorch eager fp32, GPU", f"{words}, TF32 off", TorchWay("cuda")
        ),
        WholePeer("gpu-torch-fp16", "PyTorch eager fp16, GPU", f"{words}, channels_last", half),
        WholePeer(
            "gpu-torch-compiled", "PyTorch compiled fp16, GPU",
            f"{words}, channels_last, torch.compile with CUDA graphs", replace(half, compiled=True),
        ),
        _onnxruntime(stages, "gpu-ort", ", GPU", threads, CUDA),
    ]  # fmt: skip


def _torch(batch: _Batch, key: str, name: str, way: TorchWay, words: str) -> Peer:
    cascade = batch.stages.cascade
    modules = {"stage1": cascade.stage1, "stage2": cascade.stage2}

    def network(stage: str) -> Network:
        module = modules[stage]
        assert module is not None
        return torch_network(copy.deepcopy(module), way, batch.shape(stage))

    return Peer(key, name, f"PyTorch {_version('torch')}, {words}, {GLUE}", network)


def _onnxruntime(stages: Stages, key: str, place: str, threads: int, provider: str) -> Peer:
    def network(stage: str) -> Network:
        if provider == CUDA and not has_cuda():
            raise EngineError("this ONNX Runtime has no CUDA provider: pip install 'foveate[gpu]'")
        return onnxruntime_network(stages.graphs[stage], threads, provider)

    where = "CUDA" if provider == CUDA else "CPU"
    how = f"ONNX Runtime {onnxruntime.__version__} fp32 on the {where}, {GLUE}"
    one = "one ONNX Runtime session" if len(stages.graphs) == 1 else "two ONNX Runtime sessions"
    return Peer(key, f"{one}{place}", how, network)


def _openvino(batch: _Batch, key: str, precision: str, threads: int) -> Peer:
    def network(stage: str) -> Network:
        try:
            from foveate.benchmarks.compare.openvino_networks import openvino_network
        except ImportError:
            raise EngineError(
                "OpenVINO is not installed: pip install 'foveate[openvino]'"
            ) from None
        graphs = batch.stages.int8 if precision == "int8" else batch.stages.graphs
        hint = "f32" if precision == "int8" else precision
        return openvino_network(graphs[stage], threads, hint, batch.shape(stage))

    how = f"OpenVINO {_version('openvino')} {precision}, latency hint, {GLUE}"
    one = "one OpenVINO model" if len(batch.stages.graphs) == 1 else "two OpenVINO models"
    return Peer(key, f"{one} {precision}", how, network)


def _version(name: str) -> str:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "(not installed)"
