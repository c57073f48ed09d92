"""Find the TensorRT plans of a bundle whose masks were verified on this machine's GPU."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.runtime.auto.parity_records import read_parity
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache, plan_cache
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery, usable
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord
from foveate.runtime.errors import BundleError
from foveate.runtime.spec import TF32, graph_of

GPU_PRECISIONS = ("fp16", TF32, "fp32")
"""The precisions of plans in the order in which ``auto`` tries them."""


@dataclass(frozen=True)
class GpuEnvironment:
    """The TensorRT and the GPU on which plans would run."""

    flavour: str
    version: str
    gpu: Gpu


def proven(bundle: Bundle, precision: str, number: int) -> tuple[str | None, str]:
    """Return the first precision whose plans are proven here with the reason, or None and why.

    ``precision`` "" tries all that the bundle has. Raises EngineError if there are plans and no
    TensorRT or GPU to run them.
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


def _plans(bundle: Bundle, precision: str) -> list[PlanRecord]:
    """Return the cached plans of the bundle's graphs, for any GPU."""
    graphs = {bundle.graph_sha256(graph_of(name)) for name in _precisions(bundle, precision)}
    return [r for r in plan_cache().records() if r.recipe.graph_sha256 in graphs]


def _precisions(bundle: Bundle, precision: str) -> list[str]:
    names = (precision,) if precision else GPU_PRECISIONS
    return [name for name in names if graph_of(name) in bundle.precisions]
