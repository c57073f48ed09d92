"""What masks and times of a CPU depend on: the processor, the engines installed, their versions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from foveate.runtime.engines.processor import Processor, processor

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime_gpu"), "openvino": ("openvino",)}
"""Engine of a CPU, which is also its module -> packages that may bring it, as pip writes them."""


@dataclass(frozen=True)
class CpuPlace:
    """``versions`` has the engines that are installed here, by name."""

    processor: Processor
    versions: Mapping[str, str]


def cpu_place() -> CpuPlace:
    """Return this machine's; no engine is loaded for it."""
    found = {engine: _version(engine) for engine in PACKAGES}
    return CpuPlace(processor(), {engine: text for engine, text in found.items() if text})


def _version(engine: str) -> str:
    """Return what tells an engine's version from another, empty where it is not installed.

    That is the name of the folder which pip writes beside the module, ``onnxruntime-1.32.0``, else
    the time of the module's file. Asking importlib.metadata would cost a start 30 ms.
    """
    spec = find_spec(engine)
    if spec is None or spec.origin is None:
        return ""
    module = Path(spec.origin)
    named = re.compile(rf"((?:{'|'.join(PACKAGES[engine])})-[^-]+)\.dist-info")
    found = [match[1] for name in os.listdir(module.parents[1]) if (match := named.fullmatch(name))]
    return ", ".join(sorted(found)) or f"of {module.stat().st_mtime_ns}"
