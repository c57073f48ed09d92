"""The NVIDIA driver asked which GPUs are here: without pycuda, without a context, without memory.

The answer is for ``foveate info`` and for errors. What computes goes through ``cuda.py``.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
NO_DEVICE = 100
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class GpuFacts:
    """A GPU: its name, its compute capability (sm86) and how much memory it has."""

    name: str
    sm: str
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.name}, {self.sm}, {self.memory_bytes >> 20} MiB"


class NoGpu(Exception):
    """There is no GPU that the NVIDIA driver can use; the text says why."""


def gpus() -> list[GpuFacts]:
    """Return every GPU, at least one; NoGpu says why there is none."""
    driver = _driver()
    count = ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise NoGpu("the NVIDIA driver finds no GPU")
    return [_facts(driver, index) for index in range(count.value)]


def driver_cuda() -> str:
    """Return the newest CUDA that the NVIDIA driver runs, 12.8 for example; "" without a driver."""
    version = ctypes.c_int()
    try:
        _call(_library(), "cuDriverGetVersion", ctypes.byref(version))
    except NoGpu:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def driver_problem() -> str:
    """Return why the NVIDIA driver finds no GPU, or an empty text where it finds one."""
    try:
        gpus()
    except NoGpu as error:
        return str(error)
    return ""


def _library() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoGpu(f"the NVIDIA driver is not here ({error})") from None


def _driver() -> Any:
    driver = _library()
    _call(driver, "cuInit", 0)
    return driver


def _call(driver: Any, function: str, *arguments: Any) -> None:
    try:
        status = int(getattr(driver, function)(*arguments))
    except AttributeError:
        raise NoGpu(f"{LIBRARY} has no {function}; it is not the NVIDIA driver") from None
    if status == NO_DEVICE:
        raise NoGpu("the NVIDIA driver finds no GPU")
    if status:
        raise NoGpu(f"the NVIDIA driver fails: {function} returns {status}")


def _facts(driver: Any, index: int) -> GpuFacts:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    sm = "sm"
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int()
        _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        sm += str(value.value)
    return GpuFacts(name.value.decode(errors="replace"), sm, memory.value)
