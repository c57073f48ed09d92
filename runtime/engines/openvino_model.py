"""Compile a graph with OpenVINO, its networks in bfloat16 on request, and cache the result."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from foveate.runtime.cache import cache_folder, read_checked, write_checked
from foveate.runtime.engines.base import TensorSpec
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.engines.openvino_bf16 import lower_networks
from foveate.runtime.engines.openvino_import import openvino
from foveate.runtime.errors import EngineError, GraphError
from foveate.runtime.json_files import canonical_sha256

CPU = "CPU"
BF16_CAPABILITY = "BF16"
INTEL_DRIVER = "sudo apt install intel-opencl-icd"
"""What makes an Intel GPU visible on Debian and Ubuntu."""
KEEP_TYPES = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without this hint OpenVINO lowers the geometry where the device has quicker arithmetic."""
_SINK = "/sink_port_"
"""What OpenVINO puts behind the name of a graph's output."""
MOST = 32
"""Files that are kept: each is one or two times as large as its graph. The oldest goes first."""


def compiled_model(
    graph: bytes,
    sha256: str,
    device: str,
    threads: int,
    bf16: bool,
    shape: Sequence[int] = (),
) -> Any:
    """Return OpenVINO's compiled model of a graph; GraphError and EngineError say why not.

    ``sha256`` is the graph's. ``device``: CPU or GPU, that of an Intel GPU. ``shape``: the only one
    that the input will have; empty for any. What was compiled is kept for the next process, which
    then neither reads nor compiles the graph.
    """
    core = openvino.Core()
    if device != CPU:
        _find(core, device)
    able = sorted(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
    if bf16 and BF16_CAPABILITY not in able:
        raise EngineError(
            "openvino bf16 needs a processor with bfloat16 arithmetic (AVX512_BF16, AMX), and "
            "this processor has none; use fp32"
        )
    facts = {
        "graph": sha256,
        "openvino": openvino.__version__,
        "device": [core.get_property(device, "FULL_DEVICE_NAME"), *able],
        "bf16": bf16,
        "shape": list(shape),
    }
    key = canonical_sha256(facts)
    settings = _settings(threads) if device == CPU else dict(KEEP_TYPES)
    content = load_blob(key)
    if content is not None:
        try:
            return core.import_model(content, device, settings)
        except RuntimeError:
            pass  # another build of the same version wrote it; the graph itself is there
    try:
        model = _model(core, graph, bf16)
        if shape:
            model.reshape({model.input(0): list(shape)})
        compiled = core.compile_model(model, device, settings)
    except RuntimeError as error:
        raise GraphError(f"OpenVINO refuses the graph: {short(error)}") from error
    content = compiled.export_model()
    store_blob(key, content if isinstance(content, bytes) else content.getvalue())  # as of 2026
    return compiled


def _find(core: Any, device: str) -> None:
    """Raise EngineError unless OpenVINO sees such a device."""
    seen = core.available_devices
    if not any(name.partition(".")[0] == device for name in seen):
        raise EngineError(
            f"OpenVINO sees no Intel {device} here, only {', '.join(seen)}: install the driver "
            f"({INTEL_DRIVER}), or use --engine openvino"
        )


def _model(core: Any, graph: bytes, bf16: bool) -> Any:
    model = core.read_model(graph)
    if bf16 and lower_networks(model) == 0:
        raise GraphError(
            "OpenVINO refuses the graph: there is no stage1_input or no stage1_logits in it, "
            "between which to compute in bf16"
        )
    return model


def _settings(threads: int) -> dict[str, Any]:
    """Return OpenVINO's settings: ``threads`` per run (0: all cores), a stream per run.

    Pinned threads of two engines, or of two processes, would share one core.
    """
    cores = available_cores()
    threads = threads or cores
    streams = max(1, cores // threads)
    return {
        **KEEP_TYPES,
        "INFERENCE_NUM_THREADS": threads * streams,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,
    }


def tensor_spec(port: Any) -> TensorSpec:
    """Return what a compiled model says of an input or output, under the graph's own name."""
    sides = (None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
    name = port.get_node().get_friendly_name().partition(_SINK)[0]
    return TensorSpec(name, str(port.get_element_type().to_dtype()), tuple(sides))


def short(error: Exception) -> str:
    """Return an error of OpenVINO as one line of bounded length, without its own source lines."""
    lines = (line.strip() for line in str(error).splitlines())
    text = " ".join(line for line in lines if line and not line.startswith("Exception from "))
    return text if len(text) <= 300 else text[:300] + " ..."


def load_blob(key: str) -> bytes | None:
    """Return the cached content of a key; None if it is missing or damaged."""
    return read_checked(_path(key))


def store_blob(key: str, content: bytes) -> None:
    """Store content under a key. A folder that cannot be written only costs the next start."""
    path = _path(key)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_checked(path, content)
        by_age = sorted(path.parent.glob("*.blob"), key=lambda item: item.stat().st_mtime)
        for old in by_age[:-MOST]:
            old.unlink()


def _path(key: str) -> Path:
    return cache_folder("openvino") / f"{key}.blob"
