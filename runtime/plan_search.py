"""Which plan of the cache covers a call, or what to build for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from foveate.runtime.build_options import BuildOptions, in_order
from foveate.runtime.errors import EngineError
from foveate.runtime.plan_record import Gpu, PlanRecord, build_line
from foveate.runtime.plans import PlanCache

AMPERE = 80
"""The oldest compute capability of hardware-compatible plans, and of TensorRT-RTX's by default."""


@dataclass(frozen=True)
class Wanted:
    """A call that needs a plan: by which TensorRT, on which GPU, which graph, which shape.

    ``bundle`` is the bundle's path, for the line that builds what is missing.
    """

    flavour: str
    version: str
    device: Gpu
    bundle: str
    precision: str
    graph_sha256: str
    batch: int
    height: int
    width: int

    def refusal(self, record: PlanRecord) -> str:
        """Return why a plan of the graph does not run here, in words; nothing when it does."""
        recipe = record.recipe
        if recipe.flavour != self.flavour:
            return f"is for {recipe.flavour}; {self.flavour} {self.version} is installed"
        if recipe.version != self.version and not self._accepts_older(
            recipe.version, recipe.options
        ):
            return f"was built by {recipe.flavour} {recipe.version}; {self.version} is installed"
        if not self._runs_here(recipe.options, recipe.device):
            built_for = recipe.device.name if recipe.device else ", ".join(recipe.options.targets)
            return (
                f"is for {built_for or 'sm80 and later'}; here is {self.device.name} "
                f"({self.device.sm})"
            )
        return ""

    def adapted(self, options: BuildOptions) -> BuildOptions:
        """Return options of a plan for elsewhere as they build one for here."""
        if self.flavour == "tensorrt":
            return replace(options, targets=())
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


def find(cache: PlanCache, wanted: Wanted) -> PlanRecord:
    """Return the plan that covers a call, the one with the least room to spare.

    EngineError says what there is, what lies outside, and the line that builds what is missing.
    """
    of_graph = [r for r in cache.records() if r.recipe.graph_sha256 == wanted.graph_sha256]
    shape = (wanted.batch, wanted.height, wanted.width)
    usable = [record for record in of_graph if not wanted.refusal(record)]
    fitting = [r for r in usable if not r.recipe.options.profile.outside(*shape)]
    if fitting:
        return min(fitting, key=lambda record: record.recipe.options.profile.most_pixels)
    what = f"the {wanted.precision} graph of {wanted.bundle}"
    if usable:
        options = usable[0].recipe.options.widened(*shape)
        outside = usable[0].recipe.options.profile.outside(*shape)
        reason = f"the plan of {what} does not cover {outside}"
    elif of_graph:
        options = wanted.adapted(of_graph[0].recipe.options.widened(*shape))
        reason = f"the plan of {what} {wanted.refusal(of_graph[0])}"
    else:
        options = BuildOptions(((wanted.height, wanted.width),), (1, wanted.batch, wanted.batch))
        reason = f"there is no plan of {what} in {cache.folder}"
    line = build_line(wanted.bundle, wanted.precision, options)
    raise EngineError(f"{reason}. Build one: {line}")


def _capability(device: Gpu) -> int:
    return int(device.sm.removeprefix("sm"))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
