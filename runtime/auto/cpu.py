"""Choose the fastest allowed engine and precision on a CPU, as timed on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from foveate.runtime.auto.cpu_candidates import DEFAULT, Candidate, Candidates, cpu_candidates
from foveate.runtime.auto.crashes import store_crash
from foveate.runtime.auto.timing import SIDE, Timer, Times, load_times, store_times, times_path
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.hardware import CpuEnvironment, available_cores, cpu_environment

MAX_SHARE = 0.9
"""A candidate replaces a more exact one if it takes at most this share of its time."""


@dataclass(frozen=True)
class Speeds:
    """How to learn the speed of the engines with ``threads`` threads (0: all cores).

    Stored times are used; if there are none, ``timer`` measures them. ``many_machines``: several
    machines share the run, so times of this machine must not decide.
    """

    threads: int = 0
    timer: Timer | None = None
    many_machines: bool = False


@dataclass(frozen=True)
class CpuChoice:
    """The chosen candidate and why, milliseconds by label, and why others are not allowed."""

    candidate: Candidate
    why: str = ""
    ms: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def choose_on_cpu(
    bundle: Bundle, precision: str, speeds: Speeds, here: CpuEnvironment | None = None
) -> CpuChoice:
    """Return ONNX Runtime float32 unless another candidate is allowed and clearly faster.

    ``precision`` "" leaves the precision open. If nothing is allowed, ONNX Runtime is returned;
    loading it then says what is missing.
    """
    here = here or cpu_environment()
    found = cpu_candidates(bundle, here, precision)
    if not found.allowed:
        usual = Candidate(DEFAULT.engine, precision or DEFAULT.precision)
        return CpuChoice(usual, left_out=found.left_out)
    first = found.allowed[0]
    if len(found.allowed) == 1:
        return CpuChoice(first, "no other engine runs it here", left_out=found.left_out)
    if speeds.many_machines:
        why = "several machines may share this run, so all use the same engine"
        return CpuChoice(first, why, left_out=found.left_out)
    return _timed(bundle, found, speeds, here)


def _timed(bundle: Bundle, found: Candidates, speeds: Speeds, here: CpuEnvironment) -> CpuChoice:
    threads = speeds.threads or available_cores()
    path = times_path(bundle, here, found.allowed, threads)
    times = load_times(path)
    if times is None and speeds.timer is not None:
        times = speeds.timer(bundle, found.allowed, threads)
        if times.crashed:
            found = _without_crashed(found, times.crashed, bundle, here)
        if found.allowed and not times.failed and not times.disturbed:
            store_times(times_path(bundle, here, found.allowed, threads), times)
    if times is None:
        others = ", ".join(item.label for item in found.allowed[1:])
        why = (
            f"{others} may be faster here; run once, while this machine is idle: "
            f"foveate info {bundle.path}"
        )
        return CpuChoice(found.allowed[0], why, left_out=found.left_out)
    chosen = fastest(found.allowed or [DEFAULT], times)
    left_out = {**found.left_out, **times.failed}
    return CpuChoice(chosen, _why(found.allowed, times, threads), times.ms, left_out)


def _without_crashed(
    found: Candidates, crashed: Mapping[str, str], bundle: Bundle, here: CpuEnvironment
) -> Candidates:
    """Return the candidates that did not crash; the others are recorded, and left out for it."""
    reasons = dict(found.left_out)
    for item in found.allowed:
        how = crashed.get(item.label)
        if how:
            reasons[item.label] = f"{here.versions[item.engine]} {how} here"
            with suppress(OSError):  # a cache that cannot be written to
                store_crash(bundle, here, item.engine, item.precision, how)
    return Candidates([item for item in found.allowed if item.label not in crashed], reasons)


def fastest(candidates: Sequence[Candidate], times: Times) -> Candidate:
    """Return the first candidate, or a later one that is clearly faster than the best so far.

    Candidates without a time are skipped; if none has one, the first is returned.
    """
    timed = [item for item in candidates if item.label in times.ms]
    best = timed[0] if timed else candidates[0]
    for item in timed[1:]:
        if times.ms[item.label] <= MAX_SHARE * times.ms[best.label]:
            best = item
    return best


def _why(candidates: Sequence[Candidate], times: Times, threads: int) -> str:
    """Return the times in words, with their ratio to the first."""
    timed = [item.label for item in candidates if item.label in times.ms]
    if not timed:
        return "no engine could be timed"
    base = times.ms[timed[0]]
    parts = [f"{timed[0]} {base:.1f} ms"]
    parts += [f"{name} {times.ms[name]:.1f} ms ({times.ms[name] / base:.2f})" for name in timed[1:]]
    held = f"other processes held {times.others:.1f} cores, so these times are not kept"
    disturbed = f" ({held})" if times.disturbed else ""
    place = f"timed on this machine, {SIDE}x{SIDE}, {_threads(threads)}"
    return f"{place}: {', '.join(parts)}{disturbed}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
