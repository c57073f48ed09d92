"""Resolve ``auto`` to an engine and a precision, with the reason.

TensorRT is chosen if the cache has a plan of the bundle for this GPU and ``benchmark parity`` found
its masks within the bounds of its precision on it; the faster precision first. Otherwise
``auto.cpu`` chooses: the fastest of the allowed engines, as timed on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from foveate.runtime.auto.cpu import Speeds, choose_on_cpu
from foveate.runtime.auto.crashes import crash_reason
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import PLANS, cache_folder
from foveate.runtime.engines.cuda.query import driver_problem
from foveate.runtime.engines.hardware import cpu_environment
from foveate.runtime.errors import EngineError
from foveate.runtime.spec import BF16, graph_of

AUTO = "auto"
CPU_ENGINE = "onnxruntime"


@dataclass(frozen=True)
class Choice:
    """An engine and a precision, and the reason in words.

    ``engine_ms``: milliseconds per image by engine and precision, if ``auto`` on a CPU decided by
    them; ``left_out``: what it did not consider, with the reason.
    """

    engine: str
    precision: str
    why: str
    engine_ms: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.engine} {self.precision}"


def choose(
    bundle: Bundle,
    engine: str = AUTO,
    precision: str = AUTO,
    speeds: Speeds | None = None,
    gpu: int = 0,
) -> Choice:
    """Return the engine and precision to run. An explicit choice is not checked here.

    TensorRT and CUDA are loaded only if the cache has a plan of the bundle. ``gpu``: the number of
    the GPU for plans. Without ``speeds`` nothing is timed; stored times for all cores are used.
    """
    if AUTO not in (engine, precision):
        return _requested(bundle, engine, precision, "explicitly requested")
    if precision == BF16:
        why = "bf16 was requested, and only openvino supports it"
        return _requested(bundle, "openvino", BF16, why)
    if engine not in (AUTO, "tensorrt"):
        why = f"{engine} was requested, and fp32 is the reference"
        return _requested(bundle, engine, "fp32", why)
    only = "" if precision == AUTO else precision
    left_out: dict[str, str] = {}
    try:
        proven, reason = _proven(bundle, only, gpu)
    except EngineError as error:
        proven, reason = None, f"it has TensorRT plans that cannot run here: {error}"
        left_out["tensorrt"] = reason
    if proven is not None:
        return Choice("tensorrt", proven, reason)
    if engine == "tensorrt":
        return Choice(engine, "fp32", f"tensorrt was requested; {reason or _no_plan()}")
    cpu = choose_on_cpu(bundle, only, speeds or Speeds())
    if left_out and driver_problem():
        reason = ""  # without a GPU nothing can be done about it
    taken, why = cpu.candidate, "; ".join(filter(None, (cpu.why, reason)))
    return Choice(taken.engine, taken.precision, why, cpu.ms, {**cpu.left_out, **left_out})


def _requested(bundle: Bundle, engine: str, precision: str, why: str) -> Choice:
    """Return what was asked for by name; the reason says if it is known to crash here."""
    here, crashes = cpu_environment(), ""
    if engine in here.versions and graph_of(precision) in bundle.precisions:
        crashes = crash_reason(bundle, here, engine, precision)
    return Choice(engine, precision, f"{why}; {crashes}" if crashes else why)


def _proven(bundle: Bundle, precision: str, gpu: int) -> tuple[str | None, str]:
    """Return what ``plans.proven`` does, whose imports a machine without plans is spared."""
    if not os.path.isdir(cache_folder(PLANS)):
        return None, ""
    from foveate.runtime.auto.plans import proven

    return proven(bundle, precision, gpu)


def _no_plan() -> str:
    return f"the cache {cache_folder(PLANS)} has no plan of the bundle"
