"""What a figure was measured on: machine, versions, and what may disturb it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import foveate
from foveate.runtime.engines.hardware import processor
from foveate.runtime.errors import SettingsError
from foveate.train.fitting.busy import busy_cores

PACKAGES = (
    "numpy", "opencv-python-headless", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino",
    "tensorrt", "tensorrt-rtx-cu13", "pycuda", "cuda-bindings", "torch", "triton", "onnx",
)  # fmt: skip
BUSY = 0.5
"""Processor load by others, in cores, from which a warning is given."""
OTHERS = "other processes keep"
"""How the warning about them begins."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def show_only(gpu: int) -> None:
    """Hide every GPU but one from CUDA, which has not started yet; 0 leaves all as it is.

    PyTorch, every engine and fresh processes then run on it too.
    """
    shown = os.environ.get(VISIBLE, "")
    names = shown.split(",") if shown else []
    if names and gpu >= len(names):
        raise SettingsError(f"--gpu is {gpu}; {VISIBLE} shows {len(names)}, counted from 0")
    if gpu:
        os.environ[VISIBLE] = names[gpu] if names else str(gpu)


def machine_facts() -> dict[str, Any]:
    """Return processor, memory, GPU and system as JSON values, without names of users or paths."""
    memory = psutil.virtual_memory().total
    cpu = processor()
    return {
        "cpu": cpu.name,
        "cpu_flags": list(cpu.flags),
        "cores": cpu.cores,
        "memory_gb": round(memory / 2**30, 1),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "gpus": nvidia_gpus(),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package here that takes part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def producer() -> dict[str, Any]:
    """Return foveate's version and, in a checkout, its commit and whether files were changed."""
    root = Path(foveate.__file__).parents[2]
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD") if _is_checkout(root) else None
    changed = None
    if commit:
        status = ("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
        changed = bool(_output("git", "-C", str(root), *status))
    return {"version": foveate.__version__, "commit": commit, "changed": changed}


def _is_checkout(root: Path) -> bool:
    return (root / ".git").exists() and (root / "setup.py").exists()


def disturbances() -> list[str]:
    """Return what may disturb a measurement that starts now, with advice."""
    found = []
    busy = busy_cores()
    if busy > BUSY:
        found.append(f"{OTHERS} {busy:.1f} cores busy: close them, or trust the ratios only")
    governor = _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    if governor not in (None, "performance"):
        found.append(f'the clock governor is "{governor}": set "performance" for steady times')
    if psutil.swap_memory().percent > 20:
        found.append("memory is being swapped: free some, or take smaller images or batches")
    return found


def nvidia_gpus() -> list[dict[str, str]]:
    """Return name, driver, compute capability and memory of each NVIDIA GPU."""
    fields = ("name", "driver_version", "compute_cap", "memory.total")
    text = _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = [line.split(",") for line in (text or "").splitlines()]
    return [dict(zip(fields, map(str.strip, row), strict=False)) for row in rows]


def _output(*command: str) -> str | None:
    """Return what a command prints; None when it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def resident_mb() -> float:
    """Return the memory this process holds now, in MB of 10^6 bytes."""
    return float(psutil.Process(os.getpid()).memory_info().rss / 1e6)
