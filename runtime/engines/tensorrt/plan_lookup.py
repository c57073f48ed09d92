"""Look up the plans that run here, the one that covers a call, or what to build for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions, in_order
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, build_line, this_platform
from foveate.runtime.errors import PlanError
from foveate.runtime.spec import TF32

AMPERE = 80
"""The lowest compute capability of hardware-compatible plans and TensorRT-RTX's default."""

Shape = tuple[int, int, int]
"""Images, height and width of a call."""


@dataclass(frozen=True)
class PlanQuery:
    """The TensorRT, GPU and graph to look up plans for.

    ``bundle`` (path) and ``gpu`` (number) are for the command that builds a missing plan.
    ``precision`` is fp32, fp16 or tf32; ``graph_sha256`` is of the graph that it runs.
    """

    flavour: str
    version: str
    device: Gpu
    bundle: str
    precision: str
    graph_sha256: str
    gpu: int = 0

    def refusal(self, record: PlanRecord) -> str:
        """Return why a plan of the graph does not run here, an empty text if it does."""
        recipe = record.recipe
        if recipe.flavour != self.flavour:
            return f"is for {recipe.flavour}; {self.flavour} {self.version} is installed"
        if recipe.version != self.version and not self._accepts_older(
            recipe.version, recipe.options
        ):
            return f"was built by {recipe.flavour} {recipe.version}; {self.version} is installed"
        if not record.for_this_platform:
            return f"was built for {record.platform}; this is {this_platform()}"
        if not self._runs_here(recipe.options, recipe.device):
            built_for = recipe.device.name if recipe.device else ", ".join(recipe.options.targets)
            return (
                f"is for {built_for or 'sm80 and later'}; this is {self.device.name} "
                f"({self.device.sm})"
            )
        if recipe.options.tf32 != (self.precision == TF32):
            return "rounds float32 products" if recipe.options.tf32 else "does not round them"
        return ""

    def build_line(self, options: BuildOptions | None) -> str:
        """Return the command that builds a plan; without options it has a size placeholder."""
        this_gpu_only = self.flavour == "tensorrt" or (options is not None and options.for_this_gpu)
        where = f" --gpu {self.gpu}" if self.gpu and this_gpu_only else ""
        if options is not None:
            return build_line(self.bundle, self.precision, options) + where
        line = build_line(self.bundle, self.precision, BuildOptions(((1, 1),)))
        return line.split(" --batch ")[0] + " --size HxW" + where

    def adapted(self, options: BuildOptions) -> BuildOptions:
        """Return the options of a plan for another machine, changed to build it for this one."""
        if self.flavour == "tensorrt":
            return replace(options, targets=())
        if options.for_this_gpu:
            return options
        named = options.targets or _capability(self.device) < AMPERE
        targets = sorted({*options.targets, self.device.sm}, key=in_order) if named else []
        return BuildOptions(
            options.sizes,
            options.batch,
            options.workspace_mb,
            options.optimisation_level,
            options.tf32,
            targets=tuple(targets),
        )

    def _accepts_older(self, version: str, options: BuildOptions) -> bool:
        ours, theirs = _numbers(self.version), _numbers(version)
        return options.version_compatible and ours[:1] == theirs[:1] and theirs < ours

    def _runs_here(self, options: BuildOptions, device: Gpu | None) -> bool:
        if device is None:
            if options.targets:
                return self.device.sm in options.targets
            return _capability(self.device) >= AMPERE
        return device == self.device or (
            options.hardware_compatible and _capability(self.device) >= AMPERE
        )


def usable(cache: PlanCache, query: PlanQuery) -> list[PlanRecord]:
    """Return the plans of the graph that run here, newest first."""
    return [record for record in _of_graph(cache, query) if not query.refusal(record)]


def covering(records: Sequence[PlanRecord], shape: Shape) -> PlanRecord | None:
    """Return the smallest plan that covers a call, None if there is none."""
    fitting = [r for r in records if not r.recipe.options.profile.outside(*shape)]
    return min(fitting, key=lambda r: r.recipe.options.profile.most_pixels, default=None)


def find(cache: PlanCache, query: PlanQuery, shape: Shape) -> PlanRecord:
    """Return the plan that covers a call; raises the PlanError of ``no_plan``."""
    found = covering(usable(cache, query), shape)
    if found is None:
        raise no_plan(cache, query, shape)
    return found


def no_plan(cache: PlanCache, query: PlanQuery, shape: Shape | None) -> PlanError:
    """Return the error of a call that no plan covers; shape None: of any shape.

    It says which plans exist, what they do not cover, and the command that builds the missing one.
    """
    of_graph = _of_graph(cache, query)
    here = [record for record in of_graph if not query.refusal(record)]
    what = f"the {query.precision} graph of {query.bundle}"
    options: BuildOptions | None = None
    if here and shape:
        options = here[0].recipe.options.widened(*shape)
        outside = here[0].recipe.options.profile.outside(*shape)
        reason = f"the plan of {what} does not cover {outside}"
    elif of_graph:
        old = of_graph[0].recipe.options
        options = query.adapted(old.widened(*shape) if shape else old)
        reason = f"the plan of {what} {query.refusal(of_graph[0])}"
    else:
        if shape:
            options = BuildOptions((shape[1:],), (1, shape[0], shape[0]))
        reason = f"there is no plan of {what} in {cache.folder}"
    return PlanError(f"{reason}. Build one: {query.build_line(options)}")


def _of_graph(cache: PlanCache, query: PlanQuery) -> list[PlanRecord]:
    return [r for r in cache.records() if r.recipe.graph_sha256 == query.graph_sha256]


def _capability(device: Gpu) -> int:
    return int(device.sm.removeprefix("sm"))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
