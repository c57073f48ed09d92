"""What ``auto`` takes on a CPU: the fastest engine and precision allowed, as timed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foveate.runtime.auto.cpu_candidates import USUAL, Candidate, Candidates, cpu_candidates
from foveate.runtime.auto.cpu_environment import CpuPlace, cpu_place
from foveate.runtime.auto.timing import SIDE, Timer, Times, keep_times, kept_times, times_path
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.base import available_cores

CLEARLY = 0.9
"""A candidate is taken before a more exact one from this share of its time; less is noise."""


@dataclass(frozen=True)
class Speeds:
    """How the times of the engines become known, for runs with so many ``threads``.

    Times that were kept are used. Where there are none ``timer`` measures them; without it they
    stay unknown. 0 threads are all cores. ``many_machines``: the run is one of several that share
    their work, and no time of this machine may decide for it.
    """

    threads: int = 0
    timer: Timer | None = None
    many_machines: bool = False


@dataclass(frozen=True)
class CpuChoice:
    """What is taken and why, milliseconds by label, and what is not allowed with the reason."""

    candidate: Candidate
    why: str = ""
    ms: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def choose_on_cpu(
    bundle: Bundle, precision: str, speeds: Speeds, here: CpuPlace | None = None
) -> CpuChoice:
    """Return what is taken, ONNX Runtime float32 unless another is allowed and clearly faster.

    ``precision`` "" leaves that open too. Where nothing is allowed it is ONNX Runtime, whose error
    then says what is missing.
    """
    here = here or cpu_place()
    found = cpu_candidates(bundle, here, precision)
    if not found.allowed:
        usual = Candidate(USUAL.engine, precision or USUAL.precision)
        return CpuChoice(usual, left_out=found.left_out)
    first = found.allowed[0]
    if len(found.allowed) == 1:
        return CpuChoice(first, left_out=found.left_out)
    if speeds.many_machines:
        why = "several machines may share this run, and the masks of all are to be one engine's"
        return CpuChoice(first, why, left_out=found.left_out)
    return _timed(bundle, found, speeds, here)


def _timed(bundle: Bundle, found: Candidates, speeds: Speeds, here: CpuPlace) -> CpuChoice:
    threads = speeds.threads or available_cores()
    path = times_path(bundle, here, found.allowed, threads)
    times = kept_times(path)
    if times is None and speeds.timer is not None:
        times = speeds.timer(bundle, found.allowed, threads)
        if not times.failed:
            keep_times(path, times)
    if times is None:
        others = ", ".join(item.label for item in found.allowed[1:])
        why = (
            f"{others} not timed with {_threads(threads)}: foveate info {bundle.path} does it, "
            "while the machine is not busy"
        )
        return CpuChoice(found.allowed[0], why, left_out=found.left_out)
    taken = fastest(found.allowed, times)
    left_out = {**found.left_out, **times.failed}
    return CpuChoice(taken, _why(found.allowed, times, threads), times.ms, left_out)


def fastest(candidates: Sequence[Candidate], times: Times) -> Candidate:
    """Return the first candidate, or a later one that is clearly faster than the one before.

    A candidate without a time is passed over; where none has one it is the first.
    """
    timed = [item for item in candidates if item.label in times.ms]
    best = timed[0] if timed else candidates[0]
    for item in timed[1:]:
        if times.ms[item.label] <= CLEARLY * times.ms[best.label]:
            best = item
    return best


def _why(candidates: Sequence[Candidate], times: Times, threads: int) -> str:
    """Return the times as shares of the first one's, in words."""
    timed = [item.label for item in candidates if item.label in times.ms]
    if not timed:
        return "no engine could be timed"
    base = times.ms[timed[0]]
    parts = [f"{timed[0]} {base:.1f} ms"]
    parts += [f"{name} {times.ms[name]:.1f} ms ({times.ms[name] / base:.2f})" for name in timed[1:]]
    return f"timed here, {SIDE}x{SIDE}, {_threads(threads)}: {', '.join(parts)}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
