"""The lines to type for what an engine needs, on a Jetson and anywhere else."""

from __future__ import annotations

from foveate.runtime.engines.cuda.query import driver_cuda
from foveate.runtime.engines.hardware import Jetson, jetson

ELSEWHERE = {
    "onnxruntime": "pip install 'foveate[cpu]'",
    "openvino": "pip install 'foveate[openvino]'",
    "onnxruntime-gpu": "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'foveate[gpu]'",
    "cuda-libraries": "pip install -U 'onnxruntime-gpu[cuda,cudnn]'",
    "driver": "sudo ubuntu-drivers install  # on Ubuntu; nvidia-smi then names the GPU. "
    "A container needs --gpus all",
    "tensorrt": "pip install 'foveate[rtx]'  # GeForce RTX and RTX workstation GPUs; any other: "
    "pip install 'foveate[tensorrt]'. Both need driver 580 or later",
    "pycuda": "pip install 'foveate[cuda]'  # built from source: docs/install.md",
    "cuda-bindings": "pip install cuda-bindings",
}
"""What is missing -> the line to type, and after # what else there is to know."""

FOR_CUDA_12 = {
    "onnxruntime-gpu": "pip uninstall -y onnxruntime onnxruntime-gpu && "
    "pip install 'foveate[gpu]' 'onnxruntime-gpu<1.27'  # later ones need driver 580 or later",
    "cuda-libraries": "pip install -U 'onnxruntime-gpu[cuda,cudnn]<1.27'",
    "tensorrt": "pip install 'tensorrt-cu12>=10.3'  # 'foveate[rtx]' needs driver 580 or later",
    "pycuda": "pip install 'foveate[cuda]' 'cuda-bindings<13'  # built from source: "
    "docs/install.md",
    "cuda-bindings": "pip install 'cuda-bindings<13'",
}
"""What is otherwise where the driver runs CUDA 12 and not 13, which came with driver 580."""

ON_JETSON = {
    "onnxruntime-gpu": "pip uninstall -y onnxruntime onnxruntime-gpu && "
    "pip install onnxruntime-gpu --index-url INDEX  # NVIDIA's Jetson index for this JetPack; "
    "the wheel of pip install 'foveate[gpu]' is not for a Jetson",
    "cuda-libraries": "sudo apt install nvidia-jetpack",
    "driver": "sudo apt install nvidia-jetpack  # the driver is part of Jetson Linux. "
    "A container needs --runtime nvidia",
    "tensorrt": "sudo apt install python3-libnvinfer && "
    "python3 -m venv --system-site-packages .venv",
    "pycuda": "export PATH=/usr/local/cuda/bin:$PATH && pip install 'foveate[cuda]'",
}
"""What is otherwise on a Jetson."""

TENSORRT_OF = {6: "TensorRT 10, for Python 3.10", 7: "TensorRT 11 from JetPack 7.2.2 on"}
"""Major release of JetPack -> what comes with it."""


def lines_here() -> dict[str, str]:
    """Return the lines of this machine."""
    return install_lines(jetson(), driver_cuda())


def install_lines(here: Jetson | None, cuda: str) -> dict[str, str]:
    """Return what to do about each thing that may be missing.

    ``here`` is None off a Jetson; ``cuda`` is the newest that the driver runs, "" where unknown.
    """
    old = int(cuda.split(".")[0]) < 13 if cuda else here is not None and here.jetpack == 6
    if here is None:
        return ELSEWHERE | FOR_CUDA_12 if old else ELSEWHERE
    lines = ELSEWHERE | ON_JETSON
    if old:
        lines["pycuda"] += " 'cuda-bindings<13'"
        lines["cuda-bindings"] = FOR_CUDA_12["cuda-bindings"]
    if here.jetpack:
        lines["tensorrt"] += f"  # JetPack {here.jetpack}: {TENSORRT_OF[here.jetpack]}"
    return lines
