"""A camera's frames, two thousand or a million: the masks stay right, and memory stays flat."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from tests.soak import FULL
from tests.soak.folders import spot
from tests.soak.record import record

SIDE, DISTINCT = 128, 50
FRAMES, OPENINGS = (1_000_000, 1000) if FULL else (2400, 8)
SETTLED = 2000
"""Frames after which memory has to be flat."""
GROWTH = 0.02 if FULL else 0.1
ENDED_S = 1.0
"""How long a thread that has ended may still be counted."""


def load(bundle: Path, threads: int = 1) -> Cascade:
    return Cascade.load(bundle, "onnxruntime", threads=threads)


@pytest.mark.soak
def test_memory_is_flat_over_submitted_frames(thresholds: Path) -> None:
    rng, process = np.random.default_rng(3), psutil.Process()
    frames: list[Pixels] = [spot(SIDE, rng) for _ in range(DISTINCT)]
    resident: list[int] = []
    with load(thresholds) as cascade:
        masks = [cascade(frame).mask for frame in frames]
        for number in range(FRAMES):
            mask = cascade.submit(frames[number % DISTINCT]).result().mask
            assert np.array_equal(mask, masks[number % DISTINCT]), number
            if number >= SETTLED and number % (FRAMES // 200) == 0:
                resident.append(process.memory_info().rss)
    growth = max(resident) / resident[0] - 1
    record("frames", {"frames": FRAMES, "growth": growth, "peak_bytes": max(resident)})
    assert growth <= GROWTH


@pytest.mark.soak
def test_closing_leaves_no_thread_and_no_open_file(thresholds: Path) -> None:
    process, frame = psutil.Process(), spot(SIDE, np.random.default_rng(3))
    found: list[tuple[int, int]] = []
    for _ in range(OPENINGS):
        with load(thresholds, threads=2) as cascade:
            cascade.submit(frame).result()
        until = time.monotonic() + ENDED_S
        while True:
            left = process.num_threads(), process.num_fds()
            if not found or left <= found[0] or time.monotonic() > until:
                break
            time.sleep(0.01)
        found.append(left)
    record("openings", {"openings": OPENINGS, "threads": found[-1][0], "files": found[-1][1]})
    assert max(found[5:]) <= max(found[:5])
