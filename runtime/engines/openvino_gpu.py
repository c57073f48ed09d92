"""OpenVINO on an Intel GPU, integrated or discrete. It has not run on one."""

from __future__ import annotations

from foveate.runtime.engines.openvino import OpenVinoEngine


class OpenVinoGpuEngine(OpenVinoEngine):
    """A fused graph compiled by OpenVINO for the first Intel GPU, its types kept as they are."""

    name = "openvino-gpu"
    device = "GPU"


def engine_from_onnx(graph: bytes, threads: int = 0, sha256: str = "") -> OpenVinoGpuEngine:
    """Return the engine for the bytes of a fused graph; ``threads`` is of engines on a CPU."""
    return OpenVinoGpuEngine(graph, threads, sha256=sha256)
