"""Which engine and precision ``auto`` stands for, and why: settled once, before any work.

TensorRT is taken where a plan of the bundle runs on the GPU here and ``benchmark parity`` found its
masks inside the bounds of its precision, on this GPU; the quicker precision first. Else what
``cpu_choice`` takes on the CPU: the fastest of what is allowed, as timed on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foveate.runtime.auto.cpu import Speeds, choose_on_cpu
from foveate.runtime.auto.plan_parity import read_parity
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache, plan_cache
from foveate.runtime.engines.tensorrt.plan_lookup import Wanted, usable
from foveate.runtime.engines.tensorrt.plan_record import BF16, TF32, Gpu, PlanRecord, graph_of
from foveate.runtime.errors import BundleError, EngineError

AUTO = "auto"
CPU_ENGINE = "onnxruntime"
GPU_PRECISIONS = ("fp16", TF32, "fp32")
"""The order in which ``auto`` tries what a plan may compute with."""


@dataclass(frozen=True)
class Choice:
    """An engine and a precision, and the reason in words.

    ``engine_ms``: milliseconds of an image by engine and precision, where ``auto`` on a CPU went
    by them; ``left_out``: what it did not consider, with the reason.
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
class Place:
    """The TensorRT and the GPU that plans would run on here."""

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
    """Return what is to run. What is named is taken as it is; EngineError comes when it is loaded.

    Without a plan of the bundle in the cache neither TensorRT nor CUDA is asked for anything.
    ``gpu``: the number of the GPU that plans would run on. Without ``speeds`` nothing is timed:
    the times kept for all cores count.
    """
    if AUTO not in (engine, precision):
        return Choice(engine, precision, "it was asked for")
    if precision == BF16:
        return Choice("openvino", BF16, "bf16 was asked for, and openvino alone computes in it")
    if engine not in (AUTO, "tensorrt"):
        return Choice(engine, "fp32", f"{engine} was asked for, and fp32 is the reference")
    proven, reason = _proven(bundle, precision, gpu)
    if proven is not None:
        return Choice("tensorrt", proven, reason)
    if engine == "tensorrt":
        return Choice(engine, "fp32", f"tensorrt was asked for; {reason}")
    cpu = choose_on_cpu(bundle, "" if precision == AUTO else precision, speeds or Speeds())
    taken, why = cpu.candidate, "; ".join(filter(None, (cpu.why, reason)))
    return Choice(taken.engine, taken.precision, why, cpu.ms, cpu.left_out)


def _proven(bundle: Bundle, precision: str, number: int) -> tuple[str | None, str]:
    """Return the first precision whose plans are proven here and why, or None and why not."""
    cache, records = plan_cache(), _plans(bundle, precision)
    if not records:
        return None, f"there is no TensorRT plan of it in {cache.folder}"
    try:
        place = _place(number)
    except EngineError as error:
        return None, f"TensorRT plans of it are there, but cannot run here: {error}"
    reasons = []
    for name in _precisions(bundle, precision):
        found, reason = _judge(cache, place, bundle, name)
        if found:
            return name, reason
        reasons += [reason] if reason else []
    return None, "; ".join(reasons) or f"no TensorRT plan of it is for {place.gpu.name}"


def _judge(cache: PlanCache, place: Place, bundle: Bundle, precision: str) -> tuple[bool, str]:
    """Return whether a precision's plans are proven here; every plan that could be taken counts."""
    graph = bundle.graph_sha256(graph_of(precision))
    wanted = Wanted(place.flavour, place.version, place.gpu, str(bundle.path), precision, graph)
    records = usable(cache, wanted)
    measure = f"foveate benchmark parity {bundle.path} DATA --engines tensorrt"
    for record in records:
        try:
            parity = read_parity(cache, record, place.version, place.gpu)
        except BundleError as error:
            return False, f"the {precision} plan: {error}"
        if parity is None:
            return False, (
                f"a {precision} plan is not measured on {place.gpu.name}: "
                f"{measure} --precision {precision}"
            )
        if not parity.proves:
            return False, f"the {precision} plan is not good enough: {parity}"
    if not records:
        return False, ""
    return True, f"a plan for {place.gpu.name} is there: {parity}"


def _place(number: int) -> Place:
    from foveate.runtime.engines.tensorrt.gpu import gpu
    from foveate.runtime.engines.tensorrt.toolkit import toolkit

    kit = toolkit()
    return Place(kit.flavour, kit.version, gpu(number))


def _plans(bundle: Bundle, precision: str) -> list[PlanRecord]:
    """Return the plans of the bundle's graphs in the cache, for whatever GPU."""
    graphs = {bundle.graph_sha256(graph_of(name)) for name in _precisions(bundle, precision)}
    return [r for r in plan_cache().records() if r.recipe.graph_sha256 in graphs]


def _precisions(bundle: Bundle, precision: str) -> list[str]:
    names = GPU_PRECISIONS if precision == AUTO else (precision,)
    return [name for name in names if graph_of(name) in bundle.precisions]
