"""How long each candidate takes an image on this machine: measured once, kept in the user's cache.

The image is synthetic, 1024 x 1024. Candidates take turns, so that a slow moment of the machine is
not one candidate's alone; the least time of each counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foveate.runtime.auto.cpu_candidates import Candidate
from foveate.runtime.auto.cpu_environment import CpuPlace
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import cache_folder
from foveate.runtime.engines.base import Array, Engine, feed
from foveate.runtime.engines.load_settings import LoadSettings
from foveate.runtime.engines.registry import engine_from_bundle
from foveate.runtime.engines.tensorrt.plan_record import graph_of
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.json_files import canonical_sha256, check_shape, read_signed, write_signed

SIDE = 1024
"""Height and width of the image that is timed, in pixels."""
BUDGET_S = 2.0
"""Seconds, loading included, after which no round is begun; three rounds are made in any case."""
LEAST, MOST = 3, 9
"""Rounds."""
PAUSE_S = 0.05
"""Seconds before a run of several threads: those of ONNX Runtime spin so long after theirs."""
OUTPUTS = ("mask", "box", "score")
OWN_HASH = "times_sha256"
_SHAPE = {"ms": dict, "failed": dict, "rounds": int}


@dataclass(frozen=True)
class Times:
    """Milliseconds an image by label, and by label why another could not be timed."""

    ms: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 0


Timer = Callable[[Bundle, Sequence[Candidate], int], Times]
"""Times candidates of a bundle with so many threads: ``time_candidates``, or given figures."""


def time_candidates(bundle: Bundle, candidates: Sequence[Candidate], threads: int) -> Times:
    """Return the least times of the candidates that load and run here.

    BundleError when the bundle is damaged.
    """
    started = time.perf_counter()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        feeds = {"image": _image(bundle.spec.input_type)}
        for item in candidates:
            try:
                engine = engine_from_bundle(
                    bundle, item.engine, item.precision, LoadSettings(threads)
                )
                engines[item.label] = stack.enter_context(engine)
                engine.run(feeds, OUTPUTS)
            except (EngineError, BundleError) as error:
                failed[item.label] = str(error)
                engines.pop(item.label, None)
        spent: dict[str, list[float]] = {label: [] for label in engines}
        rounds = 0
        while rounds < LEAST or (rounds < MOST and time.perf_counter() - started < BUDGET_S):
            rounds += 1
            for label, engine in engines.items():
                spent[label].append(_run_ms(engine, feeds, threads))
    return Times({label: round(min(ms), 3) for label, ms in spent.items()}, failed, rounds)


def idle_timer() -> Timer | None:
    """Return what times candidates, None while this machine has more to do than processors.

    Times taken then would be kept, and say more of the others' work than of the engines.
    """
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1)
    return None if busy else time_candidates


def kept_times(path: Path) -> Times | None:
    """Return what was measured before; None where nothing was, or where the file is damaged."""
    if not path.is_file():
        return None
    try:
        values = read_signed(path, "times of engines", OWN_HASH, _SHAPE)
        check_shape(path, values["ms"], dict.fromkeys(values["ms"], float), "ms")
    except BundleError as error:
        _debug(f"measured anew: {error}")
        return None
    return Times(values["ms"], values["failed"], values["rounds"])


def keep_times(path: Path, times: Times) -> None:
    """Keep what was measured. A folder that cannot be written only costs the next start."""
    try:
        write_signed(path, asdict(times), OWN_HASH)
    except OSError as error:
        _debug(f"not kept: {error}")


def times_path(
    bundle: Bundle, here: CpuPlace, candidates: Sequence[Candidate], threads: int
) -> Path:
    """Return the file of the times of just these candidates, on this machine."""
    facts: dict[str, Any] = {
        "processor": here.processor.as_dict(),
        "versions": {item.engine: here.versions[item.engine] for item in candidates},
        "graphs": {
            item.label: bundle.graph_sha256(graph_of(item.precision)) for item in candidates
        },
        "threads": threads,
        "side": SIDE,
    }
    return cache_folder("cpu") / f"{canonical_sha256(facts)}.times.json"


def _debug(text: str) -> None:
    import logging  # 5 ms of a start that has nothing to say

    logging.getLogger(__name__).debug(text)


def _image(input_type: str) -> Array:
    """Return a bright disc on a ramp, as the graph takes it."""
    axis = np.arange(SIDE, dtype=np.int64)
    pixels = np.add.outer(axis, axis) // 16
    pixels[np.hypot(*np.meshgrid(axis - SIDE // 2, axis - SIDE // 3)) < SIDE // 8] = 220
    if input_type == "uint16":
        return feed((pixels * 257).astype(np.uint16)[None])
    return feed(pixels.astype(np.uint8)[None])


def _run_ms(engine: Engine, feeds: dict[str, Array], threads: int) -> float:
    if threads > 1:
        time.sleep(PAUSE_S)
    started = time.perf_counter()
    engine.run(feeds, OUTPUTS)
    return 1000 * (time.perf_counter() - started)
