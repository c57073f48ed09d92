"""The processor: its name, the instructions that decide which kernels run, and the cores."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.engines.base import available_cores

CPU_INFO = Path("/proc/cpuinfo")
CPU_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16",
    "amx_int8", "asimd", "asimddp", "i8mm", "bf16",
)  # fmt: skip
"""Flags that decide which kernels run; others are not recorded."""
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimd"}
"""With one of these int8 products are added up whole. x86 without them cuts sums off at 16 bits."""


@dataclass(frozen=True)
class Processor:
    """``name`` alone does not tell two processors apart on a virtual machine; ``flags`` help.

    ``flags`` is empty where the system does not say.
    """

    name: str
    flags: tuple[str, ...]
    cores: int

    @property
    def exact_int8(self) -> bool:
        """Whether int8 is known to give the same sums here as on other processors."""
        return bool(INT8_FLAGS.intersection(self.flags))

    @property
    def lacks_bf16(self) -> bool:
        """Whether it is known to have no bfloat16 arithmetic."""
        return bool(self.flags) and not BF16_FLAGS.intersection(self.flags)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "flags": list(self.flags)}


def processor(cpu_info: Path = CPU_INFO) -> Processor:
    """Return the processor of this machine; ``cores`` are those this process may use."""
    name = _value(cpu_info, "model name") or platform.processor() or platform.machine()
    present = set((_value(cpu_info, "flags") or _value(cpu_info, "Features")).split())
    return Processor(name, tuple(flag for flag in CPU_FLAGS if flag in present), available_cores())


def _value(cpu_info: Path, key: str) -> str:
    """Return the first value of a key of /proc/cpuinfo, empty where there is none."""
    try:
        with cpu_info.open(encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return ""
