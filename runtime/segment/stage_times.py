"""Measure where the time of many images goes, and the throughput limit that follows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from foveate.runtime.auto.other_load import OtherLoad

STAGES = ("decode", "engine", "encode")


@dataclass
class ImageTimes:
    """Wall-clock and core milliseconds of the stages of one image, measured on one thread."""

    wall_ms: dict[str, float] = field(default_factory=dict)
    core_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        wall, core = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall_ms[name] = 1000 * (time.perf_counter() - wall)
            self.core_ms[name] = 1000 * (time.thread_time() - core)


class StageTimes:
    """The times of all images, on ``cores`` cores in total.

    ``others`` measures what other processes take of them; None where that is not known.
    """

    def __init__(self, cores: int, others: OtherLoad | None) -> None:
        self._cores, self._others = cores, others
        self._core_ms = dict.fromkeys(STAGES, 0.0)
        self._images = 0

    def add(self, core_ms: Mapping[str, float]) -> None:
        """Add the core milliseconds of an image's stages."""
        self._images += 1
        for name, value in core_ms.items():
            self._core_ms[name] += value

    @property
    def bottleneck(self) -> str:
        """The stage with the most core time; empty before the first image."""
        if not self._images:
            return ""
        return max(self._core_ms, key=lambda name: self._core_ms[name])

    def summary(self, images_per_second: float) -> dict[str, Any]:
        """Return core milliseconds per image by stage, the throughput ceiling, the share reached.

        ``other_cores``: how many cores other processes kept busy, None if unknown. The others are
        left for the stages. ``utilisation``: each stage's share of their time. The stages share
        them, so the ceiling is cores / (core-seconds per image). Core time is measured while all
        cores are busy, so it includes what they cost each other.
        """
        count = max(self._images, 1)
        core_ms = {name: value / count for name, value in self._core_ms.items()}
        total = sum(core_ms.values())
        others = self._others.cores() if self._others else None
        used = total * images_per_second / 1000
        cores = max(self._cores - (others or 0.0), used, 1e-9)
        ceiling = 1000 * cores / total if total else 0.0
        return {
            "core_ms": {name: round(value, 3) for name, value in core_ms.items()},
            "utilisation": {
                name: value * images_per_second / (1000 * cores) for name, value in core_ms.items()
            },
            "other_cores": None if others is None else round(others, 2),
            "bottleneck": self.bottleneck,
            "ceiling_images_per_second": ceiling,
            "share_of_ceiling": images_per_second / ceiling if ceiling else 0.0,
        }
