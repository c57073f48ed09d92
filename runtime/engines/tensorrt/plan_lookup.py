"""Which plans of the cache run here, which one covers a call, or what to build for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveate.runtime.engines.tensorrt.build_options import BuildOptions, in_order
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import (
    TF32,
    Gpu,
    PlanRecord,
    build_line,
    this_platform,
)
from foveate.runtime.errors import PlanError

AMPERE = 80
"""The oldest compute capability of hardware-compatible plans, and of TensorRT-RTX's by default."""

Shape = tuple[int, int, int]
"""Images, height and width of a call."""


@dataclass(frozen=True)
class PlanQuery:
    """What plans are looked for: by which TensorRT, on which GPU, of which graph.

    ``bundle``, its path, and ``gpu``, the number of the GPU, are for the line that builds what is
    missing. ``precision`` is fp32, fp16 or tf32; ``graph_sha256`` is that of the graph it runs
    (``plan_record.graph_of``).
    """

    flavour: str
    version: str
    device: Gpu
    bundle: str
    precision: str
    graph_sha256: str
    gpu: int = 0

    def refusal(self, record: PlanRecord) -> str:
        """Return why a plan of the graph does not run here, in words; nothing when it does."""
        recipe = record.recipe
        if recipe.flavour != self.flavour:
            return f"is for {recipe.flavour}; {self.flavour} {self.version} is installed"
        if recipe.version != self.version and not self._accepts_older(
            recipe.version, recipe.options
        ):
            return f"was built by {recipe.flavour} {recipe.version}; {self.version} is installed"
        if not record.for_this_platform:
            return f"was built for {record.platform}; here is {this_platform()}"
        if not self._runs_here(recipe.options, recipe.device):
            built_for = recipe.device.name if recipe.device else ", ".join(recipe.options.targets)
            return (
                f"is for {built_for or 'sm80 and later'}; here is {self.device.name} "
                f"({self.device.sm})"
            )
        if recipe.options.tf32 != (self.precision == TF32):
            return "rounds float32 products" if recipe.options.tf32 else "does not round them"
        return ""

    def build_line(self, options: BuildOptions | None) -> str:
        """Return the command that builds a plan; without options the size is left to be filled."""
        here_alone = self.flavour == "tensorrt" or (options is not None and options.for_this_gpu)
        where = f" --gpu {self.gpu}" if self.gpu and here_alone else ""
        if options is not None:
            return build_line(self.bundle, self.precision, options) + where
        line = build_line(self.bundle, self.precision, BuildOptions(((1, 1),)))
        return line.split(" --batch ")[0] + " --size HEIGHTxWIDTH" + where

    def adapted(self, options: BuildOptions) -> BuildOptions:
        """Return options of a plan for elsewhere as they build one for here."""
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


def usable(cache: PlanCache, wanted: PlanQuery) -> list[PlanRecord]:
    """Return the plans of the graph that run here, the newest first."""
    return [record for record in _of_graph(cache, wanted) if not wanted.refusal(record)]


def covering(records: Sequence[PlanRecord], shape: Shape) -> PlanRecord | None:
    """Return the plan that covers a call, the one with the least room to spare; None if none."""
    fitting = [r for r in records if not r.recipe.options.profile.outside(*shape)]
    return min(fitting, key=lambda r: r.recipe.options.profile.most_pixels, default=None)


def find(cache: PlanCache, wanted: PlanQuery, shape: Shape) -> PlanRecord:
    """Return the plan that covers a call; PlanError as ``no_plan`` words it."""
    found = covering(usable(cache, wanted), shape)
    if found is None:
        raise no_plan(cache, wanted, shape)
    return found


def no_plan(cache: PlanCache, wanted: PlanQuery, shape: Shape | None) -> PlanError:
    """Return the error of a call that no plan covers; None: whatever its shape.

    It says what there is, what lies outside, and the line that builds what is missing.
    """
    of_graph = _of_graph(cache, wanted)
    here = [record for record in of_graph if not wanted.refusal(record)]
    what = f"the {wanted.precision} graph of {wanted.bundle}"
    options: BuildOptions | None = None
    if here and shape:
        options = here[0].recipe.options.widened(*shape)
        outside = here[0].recipe.options.profile.outside(*shape)
        reason = f"the plan of {what} does not cover {outside}"
    elif of_graph:
        old = of_graph[0].recipe.options
        options = wanted.adapted(old.widened(*shape) if shape else old)
        reason = f"the plan of {what} {wanted.refusal(of_graph[0])}"
    else:
        if shape:
            options = BuildOptions((shape[1:],), (1, shape[0], shape[0]))
        reason = f"there is no plan of {what} in {cache.folder}"
    return PlanError(f"{reason}. Build one: {wanted.build_line(options)}")


def _of_graph(cache: PlanCache, wanted: PlanQuery) -> list[PlanRecord]:
    return [r for r in cache.records() if r.recipe.graph_sha256 == wanted.graph_sha256]


def _capability(device: Gpu) -> int:
    return int(device.sm.removeprefix("sm"))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
