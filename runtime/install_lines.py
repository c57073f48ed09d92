"""The lines to type for what an engine needs, on a Jetson and anywhere else."""

from __future__ import annotations

from foveate.runtime.machine import Jetson

ELSEWHERE = {
    "onnxruntime": "pip install 'foveate[cpu]'",
    "openvino": "pip install 'foveate[openvino]'",
    "onnxruntime-gpu": "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'foveate[gpu]'",
    "cuda-libraries": "pip install -U 'onnxruntime-gpu[cuda,cudnn]'",
    "driver": "sudo ubuntu-drivers install  # on Ubuntu; nvidia-smi then names the GPU. "
    "A container wants --gpus all",
    "tensorrt": "pip install 'foveate[rtx]'  # GeForce RTX and RTX workstation GPUs; "
    "any other: pip install 'foveate[tensorrt]'",
    "pycuda": "pip install 'foveate[cuda]'  # built from source: docs/install.md",
    "cuda-bindings": "pip install cuda-bindings",
}
"""What is missing -> the line to type, and after # what else there is to know."""

ON_JETSON = {
    "onnxruntime-gpu": "pip uninstall -y onnxruntime onnxruntime-gpu && "
    "pip install onnxruntime-gpu --index-url INDEX  # NVIDIA's Jetson index for this JetPack; "
    "the wheel of pip install 'foveate[gpu]' is not for a Jetson",
    "cuda-libraries": "sudo apt install nvidia-jetpack",
    "driver": "sudo apt install nvidia-jetpack  # the driver is part of Jetson Linux. "
    "A container wants --runtime nvidia",
    "tensorrt": "sudo apt install python3-libnvinfer && "
    "python3 -m venv --system-site-packages .venv",
    "pycuda": "export PATH=/usr/local/cuda/bin:$PATH && pip install 'foveate[cuda]'",
}
"""What is otherwise on a Jetson."""

TENSORRT_OF = {6: "TensorRT 10, for Python 3.10", 7: "TensorRT 11 from JetPack 7.2.2 on"}
"""Major release of JetPack -> what comes with it."""


def install_lines(here: Jetson | None) -> dict[str, str]:
    """Return what to do about each thing that may be missing; ``here`` is None off a Jetson."""
    if here is None:
        return ELSEWHERE
    lines = ELSEWHERE | ON_JETSON
    if here.jetpack:
        lines["tensorrt"] += f"  # JetPack {here.jetpack}: {TENSORRT_OF[here.jetpack]}"
    return lines
