"""Resolve ``auto`` to an engine and a precision, with the reason.

TensorRT is chosen if the cache has a plan of the bundle for this GPU and ``benchmark parity`` found
its masks within the bounds of its precision on it; the faster precision first. Otherwise
``auto.cpu`` chooses: the fastest of the allowed engines, as timed on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foveate.runtime.auto.cpu import Speeds, choose_on_cpu
from foveate.runtime.auto.parity_records import read_parity
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.cuda.query import Gpu, driver_problem
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache, plan_cache
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery, usable
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.spec import BF16, TF32, graph_of

AUTO = "auto"
CPU_ENGINE = "onnxruntime"
GPU_PRECISIONS = ("fp16", TF32, "fp32")
"""The precisions of plans in the order in which ``auto`` tries them."""


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


@dataclass(frozen=True)
class GpuEnvironment:
    """The TensorRT and the GPU on which plans would run."""

    flavour: str
    version: str
    gpu: Gpu


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
        return Choice(engine, precision, "explicitly requested")
    if precision == BF16:
        return Choice("openvino", BF16, "bf16 was requested, and only openvino supports it")
    if engine not in (AUTO, "tensorrt"):
        return Choice(engine, "fp32", f"{engine} was requested, and fp32 is the reference")
    left_out: dict[str, str] = {}
    try:
        proven, reason = _proven(bundle, precision, gpu)
    except EngineError as error:
        proven, reason = None, f"it has TensorRT plans that cannot run here: {error}"
        left_out["tensorrt"] = reason
    if proven is not None:
        return Choice("tensorrt", proven, reason)
    if engine == "tensorrt":
        return Choice(engine, "fp32", f"tensorrt was requested; {reason or _no_plan()}")
    cpu = choose_on_cpu(bundle, "" if precision == AUTO else precision, speeds or Speeds())
    if left_out and driver_problem():
        reason = ""  # without a GPU nothing can be done about it
    taken, why = cpu.candidate, "; ".join(filter(None, (cpu.why, reason)))
    return Choice(taken.engine, taken.precision, why, cpu.ms, {**cpu.left_out, **left_out})


def _proven(bundle: Bundle, precision: str, number: int) -> tuple[str | None, str]:
    """Return the first precision whose plans are proven here with the reason, or None and why.

    Raises EngineError if there are plans and no TensorRT or GPU to run them.
    """
    cache, records = plan_cache(), _plans(bundle, precision)
    if not records:
        return None, ""
    here, reasons = _gpu_environment(number), []
    for name in _precisions(bundle, precision):
        found, reason = _judge(cache, here, bundle, name)
        if found:
            return name, reason
        reasons += [reason] if reason else []
    return None, "; ".join(reasons) or f"none of its TensorRT plans is for {here.gpu.name}"


def _judge(
    cache: PlanCache, here: GpuEnvironment, bundle: Bundle, precision: str
) -> tuple[bool, str]:
    """Return whether all plans of a precision that could run here are proven, and why."""
    graph = bundle.graph_sha256(graph_of(precision))
    query = PlanQuery(here.flavour, here.version, here.gpu, str(bundle.path), precision, graph)
    records = usable(cache, query)
    measure = f"foveate benchmark parity {bundle.path} DATA --engines tensorrt"
    for record in records:
        try:
            parity = read_parity(cache, record, here.version, here.gpu)
        except BundleError as error:
            return False, f"the {precision} plan: {error}"
        if parity is None:
            return False, (
                f"a {precision} plan has not been measured on {here.gpu.name}: "
                f"{measure} --precision {precision}"
            )
        if not parity.proves:
            return False, f"the masks of the {precision} plan differ too much: {parity}"
    if not records:
        return False, ""
    return True, f"a plan for {here.gpu.name} is in the cache: {parity}"


def _gpu_environment(number: int) -> GpuEnvironment:
    from foveate.runtime.engines.cuda.pycuda_device import gpu
    from foveate.runtime.engines.tensorrt.toolkit import toolkit

    kit = toolkit()
    return GpuEnvironment(kit.flavour, kit.version, gpu(number))


def _no_plan() -> str:
    return f"the cache {plan_cache().folder} has no plan of the bundle"


def _plans(bundle: Bundle, precision: str) -> list[PlanRecord]:
    """Return the cached plans of the bundle's graphs, for any GPU."""
    graphs = {bundle.graph_sha256(graph_of(name)) for name in _precisions(bundle, precision)}
    return [r for r in plan_cache().records() if r.recipe.graph_sha256 in graphs]


def _precisions(bundle: Bundle, precision: str) -> list[str]:
    names = GPU_PRECISIONS if precision == AUTO else (precision,)
    return [name for name in names if graph_of(name) in bundle.precisions]
