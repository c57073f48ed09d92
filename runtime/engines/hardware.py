"""Identify this machine: a Jetson or not, its processor and cores, the CPU engines on it."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path("/")
JETPACKS = {36: 6, 38: 7, 39: 7}
"""Major release of Jetson Linux -> of JetPack. Nothing is said of a release that is not here."""
CPU_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16",
    "amx_int8", "asimd", "asimddp", "i8mm", "bf16",
)  # fmt: skip
"""Flags that decide which kernels run; others are not recorded."""
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimd"}
"""With one of these int8 products are added up whole. x86 without them cuts sums off at 16 bits."""
PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime_gpu"), "openvino": ("openvino",)}
"""Engine of a CPU, which is also its module -> packages that may bring it, as pip writes them."""
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Jetson:
    """A Jetson. ``model`` and ``release`` (of Jetson Linux, 36.4.3) are empty where unknown."""

    model: str
    release: str

    @property
    def jetpack(self) -> int | None:
        """The major release of JetPack, None where unknown."""
        return JETPACKS.get(int(self.release.split(".")[0])) if self.release else None

    def __str__(self) -> str:
        linux = f"Jetson Linux {self.release}" if self.release else ""
        jetpack = f"JetPack {self.jetpack}" if self.jetpack else ""
        return ", ".join(part for part in (self.model or "Jetson", linux, jetpack) if part)


def jetson(root: Path = ROOT, architecture: str = "") -> Jetson | None:
    """Return the Jetson that this is, or None.

    ``architecture`` is this machine's unless given. A container has the model, and often no
    release.
    """
    if (architecture or platform.machine()) != "aarch64":
        return None
    release = _text(root / "etc" / "nv_tegra_release")
    model = _text(root / "proc" / "device-tree" / "model")
    if not release and "NVIDIA" not in model:
        return None
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return Jetson(model, ".".join(found.groups()) if found else "")


def _text(path: Path) -> str:
    """Return a small text file without the zero byte that device trees end in; "" if not there."""
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


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
        """Whether int8 kernels are known to add up whole, as on most processors."""
        return bool(INT8_FLAGS.intersection(self.flags))

    @property
    def cuts_int8(self) -> bool:
        """Whether int8 kernels are known to cut sums off at 16 bits, unless told not to."""
        return bool(self.flags) and not self.exact_int8

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


@dataclass(frozen=True)
class CpuEnvironment:
    """``versions`` has the engines that are installed here, by name."""

    processor: Processor
    versions: Mapping[str, str]


def cpu_environment() -> CpuEnvironment:
    """Return this machine's; no engine is loaded for it."""
    found = {engine: _version(engine) for engine in PACKAGES}
    return CpuEnvironment(processor(), {engine: text for engine, text in found.items() if text})


def _version(engine: str) -> str:
    """Return what tells an engine's version from another, empty where it is not installed.

    That is the name of the folder which pip writes next to the module, ``onnxruntime-1.32.0``, else
    the time of the module's file. Asking importlib.metadata would cost a start 30 ms.
    """
    spec = find_spec(engine)
    if spec is None or spec.origin is None:
        return ""
    module = Path(spec.origin)
    named = re.compile(rf"((?:{'|'.join(PACKAGES[engine])})-[^-]+)\.dist-info")
    found = [match[1] for name in os.listdir(module.parents[1]) if (match := named.fullmatch(name))]
    return ", ".join(sorted(found)) or f"of {module.stat().st_mtime_ns}"


def available_cores() -> int:
    """Return how many cores this process may use; a part of one counts as one.

    So 2 under a quota of 1.5: with one, a third of the quota would be idle.
    """
    quota = cpu_quota()
    cores = affine_cores()
    return cores if quota is None else min(cores, max(1, math.ceil(quota - 0.05)))


def affine_cores() -> int:
    """Return how many cores the scheduler may give to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the least CPU quota, in cores, of this process's control groups; None without one.

    Of version 1 and 2, and of their parents. ``root`` is where /proc and /sys are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = [quota for line in lines for quota in _quotas(root / "sys/fs/cgroup", line)]
    return min(quotas, default=None)


def _quotas(mount: Path, line: str) -> Iterator[float]:
    """Yield the quotas of a group, as a line of /proc/self/cgroup names it, and of its parents."""
    _, controllers, name = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    base = mount / controllers  # of version 2 the controllers are empty
    group = PurePosixPath(name.lstrip("/"))
    for part in (group, *group.parents):  # within a container a group's parents may be hidden
        folder = base / part
        try:
            if controllers:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue
