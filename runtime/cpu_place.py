"""What masks and times of a CPU depend on: the processor, the engines installed, their versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from foveate.runtime.processor import Processor, processor

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "openvino": ("openvino",)}
"""Engine of a CPU, which is also the module's name -> the packages that may bring it."""


@dataclass(frozen=True)
class CpuPlace:
    """``versions`` has the engines that are installed here, by name."""

    processor: Processor
    versions: Mapping[str, str]


def cpu_place() -> CpuPlace:
    """Return this machine's; no engine is loaded for it where its package tells its version."""
    found = {engine: _version(engine, names) for engine, names in PACKAGES.items() if _is(engine)}
    return CpuPlace(processor(), found)


def _is(engine: str) -> bool:
    try:
        return find_spec(engine) is not None
    except ValueError:  # a module without a spec, or one that is blocked
        return False


def _version(engine: str, packages: tuple[str, ...]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in packages:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    try:
        return str(import_module(engine).__version__)
    except (ImportError, AttributeError):
        return "unknown"
