"""What each engine stands on: what is here, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from foveate.runtime.engines.tensorrt.toolkit import installed_toolkits

Lines = Mapping[str, str]
SHARED_FOLDERS = {
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
"""Folder -> the packages that install into it, of which an environment may hold one."""


@dataclass(frozen=True)
class Piece:
    """Something that an engine needs, or that only one purpose needs where ``purpose`` names it.

    ``found`` is its version or name, empty where it is missing; then ``reason`` says what is known
    and ``install`` what to type.
    """

    name: str
    found: str
    install: str
    reason: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class EngineFacts:
    """An engine's pieces, those without which the next one is of no use first."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def ready(self) -> bool:
        return all(piece.found or piece.purpose for piece in self.pieces)


@dataclass(frozen=True)
class Clash:
    """Packages here that install into one folder: the last one installed overwrote the others.

    ``packages`` are names and versions, ``install`` is what to type.
    """

    folder: str
    packages: tuple[str, ...]
    install: str


def clashes(lines: Lines) -> list[Clash]:
    """Return the packages here that overwrite each other; ``lines`` is of ``install_lines``."""
    found = []
    for folder, names in SHARED_FOLDERS.items():
        here = {name: version for name in names if (version := _version(name))}
        if len(here) > 1:
            line = lines["onnxruntime-gpu"]
            if folder == "cv2":
                uninstall = f"pip uninstall -y {' '.join(here)}"
                line = f"{uninstall} && pip install opencv-python-headless"
            found.append(Clash(folder, tuple(map(" ".join, here.items())), line))
    return found


def engine_facts(lines: Lines, gpu: str) -> list[EngineFacts]:
    """Return the facts of every engine.

    ``lines`` is of ``install_lines``; ``gpu`` names the GPU, empty where there is none.
    """
    driver = Piece("GPU with its driver", gpu, lines["driver"])
    return [
        EngineFacts("onnxruntime", (_onnxruntime(lines["onnxruntime"]),)),
        EngineFacts("openvino", (_openvino(lines["openvino"]),)),
        EngineFacts("openvino-gpu", tuple(_openvino_gpu(lines["openvino"]))),
        EngineFacts("onnxruntime-cuda", (driver, *_cuda_provider(lines))),
        EngineFacts("tensorrt", (driver, *_tensorrt(lines))),
    ]


def _onnxruntime(line: str) -> Piece:
    return _package("ONNX Runtime", "onnxruntime", line)


def _package(name: str, module_name: str, line: str) -> Piece:
    """Return a Python package as a piece; importing it is what shows that it works."""
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        return Piece(name, "", line, str(error))
    return Piece(name, str(module.__version__).partition("-")[0], line)


def _openvino(line: str) -> Piece:
    try:
        from foveate.runtime.engines.openvino_import import openvino
    except ImportError as error:
        return Piece("OpenVINO", "", line, str(error))
    return Piece("OpenVINO", str(openvino.__version__).partition("-")[0], line)


def _openvino_gpu(line: str) -> list[Piece]:
    """Return OpenVINO and the Intel GPU that it sees."""
    found = _openvino(line)
    if not found.found:
        return [found]
    from foveate.runtime.engines.openvino_import import openvino
    from foveate.runtime.engines.openvino_model import INTEL_DRIVER

    core = openvino.Core()
    gpus = [name for name in core.available_devices if name.startswith("GPU")]
    names = ", ".join(str(core.get_property(name, "FULL_DEVICE_NAME")) for name in gpus)
    return [Piece("Intel GPU with its driver", names, INTEL_DRIVER), found]


def _cuda_provider(lines: Lines) -> list[Piece]:
    line, libraries = lines["onnxruntime-gpu"], lines["cuda-libraries"]
    name, found = "ONNX Runtime with its CUDA provider", _onnxruntime(line)
    if not found.found:
        return [Piece(name, "", line, found.reason)]
    from foveate.runtime.engines.onnxruntime_cuda import has_provider, missing_libraries

    if not has_provider():
        return [Piece(name, "", line, f"{found.found} is here, without it")]
    missing = missing_libraries()
    here = "" if missing else "all here"
    cuda = Piece("CUDA and cuDNN libraries", here, libraries, ", ".join(missing))
    return [Piece(name, found.found, line), cuda, _pycuda(lines, "page-locked memory")]


def _tensorrt(lines: Lines) -> list[Piece]:
    toolkits = " and ".join(str(item) for item in installed_toolkits())
    return [
        Piece("TensorRT", toolkits, lines["tensorrt"]),
        _pycuda(lines),
        Piece(
            "cuda-bindings",
            _version("cuda-bindings"),
            lines["cuda-bindings"],
            purpose="CUDA graphs with full TensorRT",
        ),
    ]


def _pycuda(lines: Lines, purpose: str = "") -> Piece:
    return Piece("pycuda", _version("pycuda"), lines["pycuda"], purpose=purpose)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
