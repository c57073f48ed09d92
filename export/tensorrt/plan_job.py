"""A bundle's plan, built into the cache or found there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from foveate.export.tensorrt.build import build_plan, check_options
from foveate.export.tensorrt.watch import Progress
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice, gpu
from foveate.runtime.engines.registry import REFUSED, TENSORRT
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe
from foveate.runtime.engines.tensorrt.toolkit import Toolkit
from foveate.runtime.errors import EngineError
from foveate.runtime.spec import TF32, graph_of


@dataclass(frozen=True)
class PlanJob:
    """What to build; ``progress`` is told phases, ``waiting`` that another process builds.

    ``gpu`` is the number of the GPU to build on and for: of the full TensorRT, and of RTX's target
    ``current``.
    """

    bundle: Bundle
    precision: str
    options: BuildOptions
    kit: Toolkit
    progress: Progress
    waiting: Callable[[], object]
    gpu: int = 0


def build_into(cache: PlanCache, job: PlanJob) -> tuple[PlanRecord, bool]:
    """Return the record of the job's plan in the cache, and whether it had to be built.

    EngineError for a precision that no plan can have.
    """
    if (TENSORRT, job.precision) in REFUSED:
        raise EngineError(REFUSED[TENSORRT, job.precision])
    options = replace(job.options, tf32=job.precision == TF32)
    check_options(job.kit, options)
    precision = graph_of(job.precision)
    graph = job.bundle.graph(precision)
    recipe = Recipe(
        job.kit.flavour,
        job.kit.version,
        job.bundle.graph_sha256(precision),
        options,
        None if job.kit.rtx and not options.for_this_gpu else gpu(job.gpu),
    )
    return cache.build_once(
        recipe,
        job.bundle.path.name,
        job.precision,
        lambda log: _built(job, graph, recipe, log),
        job.waiting,
    )


def _built(job: PlanJob, graph: bytes, recipe: Recipe, log: Path) -> bytes:
    """Return the plan; what is built for one GPU is built where that GPU is current."""
    place = nullcontext() if recipe.device is None else CudaDevice(job.gpu).current()
    with place:
        return build_plan(job.kit, graph, recipe.options, log, job.progress)
