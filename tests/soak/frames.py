"""A camera's million frames, submitted one by one: does memory stay flat, and the slowest near?

The bare engine has frames between, in the same process, so what the machine does beside this
disturbs both. Then bundles are opened and closed, and threads and open files counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from foveate.benchmarks.measure.baseline import BaselineSession
from foveate.runtime.arrays import Pixels, feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.session import OUTPUTS
from foveate.runtime.result import Result
from tests.soak.folders import spot

ENGINE = "onnxruntime"
SIDE, DISTINCT, SEED = 128, 50, 3
FRAMES, BARE = 100, 20
"""Frames that are submitted, and frames of the bare engine, by turns."""
AFTER_SWITCH = 5
"""Frames at the beginning of a turn that are not counted: caches are the other kind's. Of the bare
engine's 1 in 20 is the first of its turn, so its p99 would be that; of ours 1 in 100."""
SETTLED = 2000
"""Frames after which memory has to be flat."""
SAMPLES = 200
"""How often memory is looked at."""
GROWTH = 0.02
STEADY = 1.2
"""What p99/p50 of a frame may be of the bare engine's."""
ENDED_S = 1.0
"""How long a thread that has ended may still be counted."""
OPENED_FIRST = 5
"""Openings after which threads and open files have to stay as they are."""


@dataclass
class Seen:
    """Milliseconds of every frame, of both kinds, and the process's bytes at some of them."""

    frame_ms: npt.NDArray[np.float64]
    bare_ms: npt.NDArray[np.float64]
    resident: list[int] = field(default_factory=list)
    wrong_masks: int = 0


def timed_ms(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the milliseconds of a call, and what it returned."""
    started = time.perf_counter()
    found = work(*arguments)
    return 1000 * (time.perf_counter() - started), found


def turns(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first frame of each turn and the one after its last."""
    for first in range(0, count, FRAMES):
        yield first, min(count, first + FRAMES)


def submitted(bundle: Path, count: int) -> Seen:
    """Submit so many frames, each when the one before has its result, the bare engine between."""
    rng = np.random.default_rng(SEED)
    frames: list[Pixels] = [spot(SIDE, rng) for _ in range(DISTINCT)]
    every = max(FRAMES, count // SAMPLES)
    seen = Seen(np.full(count, np.nan), np.full(-(-count // FRAMES) * BARE, np.nan))
    process, bare_done = psutil.Process(), 0
    bare = BaselineSession(open_bundle(bundle).graph("fp32"), 1)
    with Cascade.load(bundle, ENGINE, threads=1) as cascade:
        masks = [cascade(frame).mask for frame in frames]
        cascade.warm_up([(SIDE, SIDE)])

        def segmented(frame: Pixels) -> Result:
            return cascade.submit(frame).result()

        for first, last in turns(count):
            for number in range(first, last):
                took, result = timed_ms(segmented, frames[number % DISTINCT])
                seen.frame_ms[number] = took
                seen.wrong_masks += not np.array_equal(result.mask, masks[number % DISTINCT])
            for number in range(BARE):
                values = feed(frames[number][None])
                seen.bare_ms[bare_done], _ = timed_ms(bare.run, values, OUTPUTS)
                bare_done += 1
            if first >= SETTLED and first % every < FRAMES:
                seen.resident.append(int(process.memory_info().rss))
    return seen


def opened(bundle: Path, count: int) -> list[tuple[int, int]]:
    """Open and close a bundle so often; return the threads and open files after each time.

    Where there are more than after the first time they are counted again for a second: the system
    takes a thread off its list a moment after it has ended.
    """
    process, frame = psutil.Process(), spot(SIDE, np.random.default_rng(SEED))
    found: list[tuple[int, int]] = []
    for _ in range(count):
        with Cascade.load(bundle, ENGINE, threads=2) as cascade:
            cascade.submit(frame).result()
        until = time.monotonic() + ENDED_S
        left = (process.num_threads(), process.num_fds())
        while found and left > found[0] and time.monotonic() < until:
            time.sleep(0.01)
            left = (process.num_threads(), process.num_fds())
        found.append(left)
    return found


def counted(milliseconds: npt.NDArray[np.float64], turn: int) -> npt.NDArray[np.float64]:
    """Return those of frames that are not at the beginning of a turn of so many."""
    return milliseconds[np.arange(len(milliseconds)) % turn >= AFTER_SWITCH]


def spread(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the percentiles of milliseconds, and how far p99 is from the middle."""
    middle, late, last = np.percentile(values, [50, 99, 99.9])
    return {
        "p50_ms": round(float(middle), 4),
        "p99_ms": round(float(late), 4),
        "p99.9_ms": round(float(last), 4),
        "p99/p50": round(float(late / middle), 4),
        "p99 - p50, ms": round(float(late - middle), 4),
    }


def judged(seen: Seen, kept: list[tuple[int, int]]) -> tuple[dict[str, Any], list[str]]:
    """Return what was seen in words and numbers, and what broke."""
    frame = spread(counted(seen.frame_ms, FRAMES)[SETTLED:])
    bare = spread(counted(seen.bare_ms, BARE))
    ratio = frame["p99/p50"] / bare["p99/p50"]
    growth = max(seen.resident) / seen.resident[0] - 1
    found = {
        "frames": len(seen.frame_ms),
        "side": SIDE,
        "submitted": frame,
        "bare engine, by turns": bare,
        "p99/p50, of the bare engine's": round(ratio, 3),
        "p50, of the bare engine's": round(frame["p50_ms"] / bare["p50_ms"], 3),
        "resident MB, first": round(seen.resident[0] / 1e6, 2),
        "resident MB, most": round(max(seen.resident) / 1e6, 2),
        "growth": round(growth, 5),
        "opened and closed": len(kept),
        "threads and open files, first and last": [list(kept[OPENED_FIRST - 1]), list(kept[-1])],
    }
    broken = []
    if seen.wrong_masks:
        broken.append(f"{seen.wrong_masks} masks were not those of a call")
    if ratio > STEADY:
        broken.append(f"p99/p50 is {ratio:.2f} of the bare engine's; expected at most {STEADY}")
    if growth > GROWTH:
        broken.append(f"resident size grew by {growth:.2%}; expected at most {GROWTH:.0%}")
    if max(kept[OPENED_FIRST:]) > max(kept[:OPENED_FIRST]):
        broken.append(f"threads and open files grew from {kept[OPENED_FIRST - 1]} to {max(kept)}")
    return found, broken
