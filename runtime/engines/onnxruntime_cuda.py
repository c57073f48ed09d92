"""ONNX Runtime on an NVIDIA GPU: its CUDA provider, and no other in silence."""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import onnxruntime

from foveate.runtime.arrays import Array
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice
from foveate.runtime.engines.cuda.query import driver_problem
from foveate.runtime.engines.host_memory import HostMemory, PinnedMemory, PlainMemory
from foveate.runtime.engines.install_lines import lines_here
from foveate.runtime.engines.onnxruntime import BoundSession, session_options, short
from foveate.runtime.errors import EngineError, GraphError

PROVIDER = "CUDAExecutionProvider"
WARNING, FATAL = 2, 4
LIBRARIES = ("cudart", "cublasLt", "cublas", "nvrtc", "curand", "cufft", "cudnn")
"""Of CUDA and cuDNN, as the provider needs them."""
NOT_LOADED = re.compile(r"Failed to load (\S+):")
NOT_FOUND = re.compile(r"^(\S+): cannot open shared object file")
OPTIONS = {"use_tf32": "0"}
"""Of the provider. float32 means float32: TF32 rounds the factors of products to 10 bits."""
CPU = "CPUExecutionProvider"


class OnnxRuntimeCudaEngine(Closeable):
    """A fused graph in ONNX Runtime's CUDA provider, float32 and float16, bound by address.

    Where pycuda is installed inputs and outputs go through page-locked memory of ours
    (``PinnedMemory``): ONNX Runtime's own Python API offers none in the versions supported here.
    Without pycuda they are ordinary numpy arrays.

    ONNX Runtime puts the nodes that compute shapes on the CPU on purpose, so a node there is no
    fault. Its option ``session.disable_cpu_ep_fallback`` does not tell them apart and is not used.
    That the provider was taken at all, and that no convolution is on the CPU, is checked.
    """

    name = "onnxruntime-cuda"

    def __init__(self, graph: bytes, threads: int = 0, gpu: int = 0) -> None:
        session = cuda_session(graph, threads, gpu)
        self.providers: list[str] = session.get_providers()
        self._bound = BoundSession(session, host_memory(gpu))
        self.inputs, self.outputs = self._bound.inputs, self._bound.outputs

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        return self._bound.run(feeds, outputs)

    def close(self) -> None:
        self._bound.close()


def engine_from_onnx(graph: bytes, threads: int = 0, gpu: int = 0) -> OnnxRuntimeCudaEngine:
    """Return the engine for the bytes of a fused graph; EngineError says what is missing."""
    return OnnxRuntimeCudaEngine(graph, threads, gpu)


def cuda_session(graph: bytes, threads: int = 0, gpu: int = 0) -> onnxruntime.InferenceSession:
    """Return a session on the GPU; EngineError where there would be one on the CPU."""
    if not has_provider():
        raise EngineError(
            f"the onnxruntime-cuda engine cannot be loaded: ONNX Runtime {onnxruntime.__version__} "
            f"is here without its CUDA provider: {lines_here()['onnxruntime-gpu']}"
        )
    load_libraries()
    provider = (PROVIDER, {**OPTIONS, "device_id": str(gpu)})
    options = session_options(threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        with quiet():
            session = onnxruntime.InferenceSession(
                graph, options, providers=[provider], enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime raises many types of its own, all unnamed here
        if _sound(graph):
            raise EngineError(_trouble(error)) from error
        raise GraphError(f"ONNX Runtime refuses the graph: {short(error)}") from error
    if session.get_providers()[0] != PROVIDER:  # it goes to the CPU without a word
        raise EngineError(_trouble())
    check_convolutions(session)
    return session


def check_convolutions(session: onnxruntime.InferenceSession, provider: str = PROVIDER) -> None:
    """Raise EngineError when a convolution of the graph runs elsewhere than on the provider.

    Versions of ONNX Runtime that do not tell where a node runs are believed.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    for part in session.get_provider_graph_assignment_info():
        convolutions = [node for node in part.get_nodes() if "Conv" in node.op_type]
        if convolutions and part.ep_name != provider:
            raise EngineError(
                f"ONNX Runtime put {len(convolutions)} convolutions of the graph on "
                f"{part.ep_name}; expected all of them on {provider}"
            )


def host_memory(gpu: int = 0) -> Callable[[], HostMemory]:
    """Return what makes the memory of a run: page-locked where pycuda is installed."""
    try:
        return partial(PinnedMemory, CudaDevice(gpu))
    except EngineError:
        return PlainMemory


def _sound(graph: bytes) -> bool:
    """Return whether ONNX Runtime takes a graph on the CPU, so that the GPU is at fault."""
    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(graph, options, providers=[CPU], enable_fallback=0)
    except Exception:  # as above
        return False
    return True


def _trouble(error: Exception | None = None) -> str:
    """Return in words why the CUDA provider does not come, and the lines to type.

    ``error`` is what ONNX Runtime raised: a long text, with CUDA's own words somewhere in it.
    """
    lines = lines_here()
    reasons = []
    libraries, driver = missing_libraries(), driver_problem()
    if libraries:
        plural = "is" if len(libraries) == 1 else "are"
        reasons.append(f"{', '.join(libraries)} {plural} missing: {lines['cuda-libraries']}")
    if driver:
        reasons.append(f"{driver}: {lines['driver']}")
    if error is not None:
        cuda = re.search("CUDA failure [^;]*[^; ]", str(error))
        reasons.append(cuda[0] if cuda else short(error))
    if not reasons:
        reasons.append(f"it does not say why; try {lines['onnxruntime-gpu']}")
    return (
        f"the onnxruntime-cuda engine cannot be loaded: ONNX Runtime {onnxruntime.__version__} "
        f"does not start its CUDA provider: {'; '.join(reasons)}"
    )


def has_provider() -> bool:
    """Return whether this ONNX Runtime was built with CUDA; says nothing of the libraries."""
    return PROVIDER in onnxruntime.get_available_providers()


def wheel_libraries() -> list[Path]:
    """Return NVIDIA's libraries in their wheels, wherever on sys.path those lie.

    Those that others need come first. Wheels of CUDA 13 share the folder cu13, those of CUDA 12
    have one each; cuDNN has its own in addition.
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

    ``preload_dlls`` of newer versions of ONNX Runtime looks next to ONNX Runtime and where the
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
    ``load_libraries`` also missed is named too, and nothing where only the driver is missing.
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
