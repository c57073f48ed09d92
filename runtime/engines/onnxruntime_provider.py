"""Whether ONNX Runtime's CUDA provider is here, and what is missing where it is not."""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime

PROVIDER = "CUDAExecutionProvider"
WARNING, FATAL = 2, 4
LIBRARIES = ("cudart", "cublasLt", "cublas", "nvrtc", "curand", "cufft", "cudnn")
"""Of CUDA and cuDNN, as the provider needs them."""
NOT_LOADED = re.compile(r"Failed to load (\S+):")
NOT_FOUND = re.compile(r"^(\S+): cannot open shared object file")


def has_provider() -> bool:
    """Return whether this ONNX Runtime was built with CUDA; says nothing of the libraries."""
    return PROVIDER in onnxruntime.get_available_providers()


def wheel_libraries() -> list[Path]:
    """Return NVIDIA's libraries in their wheels, wherever on sys.path those lie.

    Those that others need come first. Wheels of CUDA 13 share the folder cu13, those of CUDA 12
    have one each; cuDNN has its own beside both.
    """
    folders = [
        folder
        for entry in sys.path
        for folder in sorted(Path(entry).glob("nvidia/*/lib"))
        if _fits(folder.parent.name)
    ]
    found: dict[str, Path] = {}
    for library, folder in itertools.product(LIBRARIES, folders):
        for path in folder.glob(f"lib{library}.so.*"):
            found.setdefault(path.name, path.resolve())
    return list(found.values())


def _fits(wheel: str) -> bool:
    """Say whether the wheels of a folder are for the CUDA that this ONNX Runtime was built with."""
    major = str(getattr(onnxruntime, "cuda_version", "")).partition(".")[0]
    if major.isdigit() and int(major) >= 13:
        return wheel in (f"cu{major}", "cudnn")
    return re.fullmatch(r"cu\d+", wheel) is None


def load_libraries() -> list[str]:
    """Load NVIDIA's libraries from their wheels and return the names of those not found.

    ``preload_dlls`` of newer versions of ONNX Runtime looks beside ONNX Runtime and where the
    system does. What it misses it prints, which is caught here.
    """
    for path in wheel_libraries():
        with contextlib.suppress(OSError):  # the loader says so of what needs it
            ctypes.CDLL(str(path))
    said = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
    return [Path(name).name for name in NOT_LOADED.findall(said.getvalue())]


def missing_libraries() -> list[str]:
    """Return the shared libraries of CUDA and cuDNN that keep the provider from loading.

    The loader of the system decides: it names the first library that it does not find. What
    ``load_libraries`` missed beside it is named too, and nothing where only the driver is missing.
    """
    wheels = load_libraries()
    first = _first_missing()
    if not first or first.startswith("libcuda."):
        return []
    return list(dict.fromkeys([first, *wheels]))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep ONNX Runtime from writing to standard error while a session is made.

    What it writes there when a provider does not load is raised by us, in words. The level is that
    of the process; ONNX Runtime does not tell what it was, so its default, warnings, comes back.
    """
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)


def _first_missing() -> str:
    """Return the first library that the loader does not find for the provider, or ""."""
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if os.name != "posix" or not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:  # also where all is there: it is a plug-in of another library
        found = NOT_FOUND.match(str(error))
        return found[1] if found else ""
    return ""
