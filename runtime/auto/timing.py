"""Time each candidate on this machine, once; the times are stored in the user's cache.

The image is synthetic, 1024 x 1024. Candidates alternate, so that a slow moment of the machine
affects all of them; the minimum of each counts.
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

from foveate.runtime.arrays import Array, feed
from foveate.runtime.auto.cpu_candidates import Candidate
from foveate.runtime.auto.other_load import BUSY_CORES, OtherLoad
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import cache_folder
from foveate.runtime.engines.base import Engine
from foveate.runtime.engines.hardware import CpuEnvironment
from foveate.runtime.engines.registry import LoadSettings, engine_from_bundle
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.json_files import canonical_sha256, check_shape, read_signed, write_signed
from foveate.runtime.spec import graph_of

SIDE = 1024
"""Height and width of the timed image, in pixels."""
SMALL_SIDE = 64
"""Of an image that is run once: public reports know crashes with small images alone."""
BUDGET_S = 2.0
"""Seconds, including loading, after which no further round starts (after MIN_ROUNDS)."""
MIN_ROUNDS, MAX_ROUNDS = 3, 9
PAUSE_S = 0.05
"""Seconds before a run of several threads: ONNX Runtime's threads spin this long after a run."""
OUTPUTS = ("mask", "box", "score")
OWN_HASH = "times_sha256"
_SHAPE = {"ms": dict, "failed": dict, "rounds": int}


@dataclass(frozen=True)
class Times:
    """Milliseconds per image by label, and by label why a candidate could not be timed.

    ``others``: the cores that other processes held meanwhile. ``crashed``: by label how a candidate
    ended the process that timed it; the times are of another process, without these candidates.
    """

    ms: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 0
    others: float = 0.0
    crashed: Mapping[str, str] = field(default_factory=dict)

    @property
    def disturbed(self) -> bool:
        """Say whether the times reflect the load of the machine rather than the engines."""
        return self.others > BUSY_CORES


Timer = Callable[[Bundle, Sequence[Candidate], int], Times]
"""Times the candidates of a bundle with a number of threads, like ``time_candidates``."""


def time_candidates(
    bundle: Bundle,
    candidates: Sequence[Candidate],
    threads: int,
    at: Callable[[str], object] = lambda label: None,
) -> Times:
    """Return the minimum times of the candidates that load and run on this machine.

    ``at`` is told the label of a candidate before anything that could crash with it. Raises
    BundleError if the bundle is damaged.
    """
    started = time.perf_counter()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        feeds, small = (
            {"image": _image(side, *bundle.spec.input_kind)} for side in (SIDE, SMALL_SIDE)
        )
        for item in candidates:
            at(item.label)
            try:
                engine = engine_from_bundle(
                    bundle, item.engine, item.precision, LoadSettings(threads)
                )
                engines[item.label] = stack.enter_context(engine)
                engine.run(small, OUTPUTS)
                engine.run(feeds, OUTPUTS)
            except (EngineError, BundleError) as error:
                failed[item.label] = str(error)
                engines.pop(item.label, None)
        spent: dict[str, list[float]] = {label: [] for label in engines}
        rounds, load = 0, OtherLoad()
        while rounds < MIN_ROUNDS or (
            rounds < MAX_ROUNDS and time.perf_counter() - started < BUDGET_S
        ):
            rounds += 1
            for label, engine in engines.items():
                at(label)
                spent[label].append(_run_ms(engine, feeds, threads))
    fastest = {label: round(min(ms), 3) for label, ms in spent.items()}
    return Times(fastest, failed, rounds, round(load.cores() or 0.0, 2))


def load_times(path: Path) -> Times | None:
    """Return the stored times; None if there are none or the file is damaged."""
    if not os.path.isfile(path):  # Path.is_file raises where the folder is not for this user
        return None
    try:
        values = read_signed(path, "times of engines", OWN_HASH, _SHAPE)
        check_shape(path, values["ms"], dict.fromkeys(values["ms"], float), "ms")
    except BundleError as error:
        _debug(f"measured anew: {error}")
        return None
    return Times(values["ms"], values["failed"], values["rounds"])


def store_times(path: Path, times: Times) -> None:
    """Store times. A folder that cannot be written to only costs the next start."""
    try:
        write_signed(path, asdict(times), OWN_HASH)
    except OSError as error:
        _debug(f"not stored: {error}")


def times_path(
    bundle: Bundle, here: CpuEnvironment, candidates: Sequence[Candidate], threads: int
) -> Path:
    """Return the file of the times of exactly these candidates on this machine."""
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
    import logging  # costs 5 ms, and is rarely needed

    logging.getLogger(__name__).debug(text)


def _image(side: int, input_type: str, channels: int) -> Array:
    """Return a bright disc on a ramp, alike in all channels, as the graph's input."""
    axis = np.arange(side, dtype=np.int64)
    pixels = np.add.outer(axis, axis) // 16
    pixels[np.hypot(*np.meshgrid(axis - side // 2, axis - side // 3)) < side // 8] = 220
    if channels > 1:
        pixels = np.repeat(pixels[:, :, None], channels, axis=2)
    if input_type == "uint16":
        return feed((pixels * 257).astype(np.uint16)[None])
    return feed(pixels.astype(np.uint8)[None])


def _run_ms(engine: Engine, feeds: dict[str, Array], threads: int) -> float:
    if threads > 1:
        time.sleep(PAUSE_S)
    started = time.perf_counter()
    engine.run(feeds, OUTPUTS)
    return 1000 * (time.perf_counter() - started)
