"""Query the NVIDIA driver for its GPUs, without pycuda, a context or GPU memory.

For ``foveate info`` and error messages; computation goes through ``pycuda_device``.
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
class Gpu:
    """A GPU: its name and compute capability, for example sm86."""

    name: str
    sm: str


@dataclass(frozen=True)
class GpuFacts:
    """A GPU: its name, compute capability (sm86) and memory."""

    name: str
    sm: str
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.name}, {self.sm}, {self.memory_bytes >> 20} MiB"


class NoGpu(Exception):
    """The NVIDIA driver can use no GPU; the text says why."""


def gpus() -> list[GpuFacts]:
    """Return all GPUs, at least one; raises NoGpu with the reason otherwise."""
    driver = _driver()
    count = ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise NoGpu("the NVIDIA driver finds no GPU")
    return [_facts(driver, index) for index in range(count.value)]


def driver_cuda() -> str:
    """Return the newest CUDA that the NVIDIA driver supports, e.g. 12.8; "" without a driver."""
    version = ctypes.c_int()
    try:
        _call(_library(), "cuDriverGetVersion", ctypes.byref(version))
    except NoGpu:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def driver_problem() -> str:
    """Return why the NVIDIA driver finds no GPU, an empty text if it finds one."""
    try:
        gpus()
    except NoGpu as error:
        return str(error)
    return ""


def _library() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoGpu(f"the NVIDIA driver is not installed ({error})") from None


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
