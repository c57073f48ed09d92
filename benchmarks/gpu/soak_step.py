"""Many images through one stream: is the memory of the GPU flat, do the masks stay the same?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.machine import resident_mb
from foveate.runtime.cascade import Cascade
from foveate.runtime.cuda import CudaDevice
from foveate.runtime.engines.base import Array, Pixels
from foveate.runtime.errors import EngineError

SETTLED = 2000
"""Images after which memory has to be flat."""
EVERY = 500
GROWTH = 0.02
"""Largest growth of the used memory after that, as a share of it."""


def run(task: Task) -> None:
    """Stream the images of a set over and over; raises when memory grows or a mask changes."""
    part, total = task.reference_set(), task.settings.stream_images
    pixels = [item.case.image for item in part.load()]
    settled = min(SETTLED, total // 3)
    device, samples, changed = CudaDevice(), [], 0
    first: dict[int, Array] = {}
    with Cascade.load(part.bundle.path, task.engine, task.precision) as cascade:
        for number, result in enumerate(cascade.stream(_again(pixels, total))):
            wanted = first.setdefault(number % len(pixels), result.mask)
            changed += not np.array_equal(wanted, result.mask)
            if (number + 1) % min(EVERY, settled) == 0:
                with device.current():
                    memory = device.memory()
                used = memory.total_bytes - memory.free_bytes
                samples.append(
                    {"images": number + 1, "gpu_mb": used / 1e6, "host_mb": resident_mb()}
                )
                task.keep({"samples": samples, "changed_masks": changed})
            if (number + 1) % (10 * EVERY) == 0:
                task.say(f"{number + 1} of {total} images, {samples[-1]['gpu_mb']:.0f} MB used")
    grown = {name: growth(samples, settled, name) for name in ("gpu_mb", "host_mb")}
    task.keep({"images": total, "settled": settled, "growth": grown})
    task.say(f"GPU memory grew by {grown['gpu_mb']:.2%} after {settled} images")
    if grown["gpu_mb"] > GROWTH:
        raise EngineError(f"GPU memory grew by {grown['gpu_mb']:.2%}; wanted at most {GROWTH:.0%}")
    if changed:
        raise EngineError(f"{changed} of {total} masks are not those of the same image before")


def _again(pixels: Sequence[Pixels], total: int) -> Iterator[Pixels]:
    return (pixels[number % len(pixels)] for number in range(total))


def growth(samples: Sequence[Mapping[str, Any]], settled: int, name: str) -> float:
    """Return by which share a memory grew at most after so many images."""
    base = next(float(item[name]) for item in samples if item["images"] >= settled)
    later = [float(item[name]) for item in samples if item["images"] >= settled]
    return (max(later) - base) / base
