"""The record of a plan: what it was built from, for which device, and its sha256."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import machine
from typing import Any

from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import canonical_sha256, check_shape, read_json

SCHEMA = 1
OWN_HASH = "record_sha256"
_SHAPE = {
    "flavour": str,
    "version": str,
    "graph_sha256": str,
    "options": dict,
    "bundle": str,
    "precision": str,
    "plan_sha256": str,
    "plan_bytes": int,
    "created": str,
    "build_seconds": float,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a plan.

    ``device`` is its GPU; None if TensorRT-RTX built it for targets instead.
    """

    flavour: str
    version: str
    graph_sha256: str
    options: BuildOptions
    device: Gpu | None

    @property
    def key(self) -> str:
        """The name of the plan's files in the cache: the sha256 of the recipe."""
        return canonical_sha256(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "options": self.options.as_dict()}


@dataclass(frozen=True)
class PlanRecord:
    """A built plan: its file must have ``plan_sha256``.

    ``platform`` is where it runs (``this_platform``), empty in records of earlier versions.
    """

    recipe: Recipe
    bundle: str
    precision: str
    plan_sha256: str
    plan_bytes: int
    created: str
    build_seconds: float
    platform: str = ""

    @property
    def key(self) -> str:
        return self.recipe.key

    @property
    def for_this_platform(self) -> bool:
        return self.platform in ("", this_platform())

    def build_line(self, bundle: str = "") -> str:
        """Return the command that rebuilds the plan, with the path ``bundle``."""
        return build_line(bundle or self.bundle, self.precision, self.recipe.options)

    def __str__(self) -> str:
        options = self.recipe.options
        profile, (least, _, most) = options.profile, options.batch
        device = self.recipe.device
        where = device.name if device else ", ".join(options.targets) or "sm80 on"
        return (
            f"{self.bundle} {self.precision}, batch {least} to {most}, "
            f"{profile.height.min}x{profile.width.min} to "
            f"{profile.height.max}x{profile.width.max}, {where}, {self.plan_bytes / 1e6:.1f} MB"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values, signed with its own hash."""
        values = {**asdict(self), **self.recipe.as_dict(), "schema": SCHEMA}
        del values["recipe"]
        return {**values, OWN_HASH: canonical_sha256(values)}


def this_platform() -> str:
    """Return the platform of plans built here, for example linux-x86_64."""
    return f"{sys.platform}-{machine()}"


def build_line(bundle: str, precision: str, options: BuildOptions) -> str:
    """Return the command line that builds a plan."""
    words = ["foveate", "build", bundle, "--engine", "tensorrt", "--precision", precision]
    return shlex.join([*words, *options.arguments()])


def read_record(path: Path) -> PlanRecord:
    """Return the record in a JSON file; BundleError if it was changed."""
    values = read_json(path, "the record of a plan, written by foveate build")
    stated = values.pop(OWN_HASH, None)
    if canonical_sha256(values) != stated:
        raise BundleError(f"{path}: does not match its own {OWN_HASH}; it was changed")
    if values.get("schema") != SCHEMA:
        raise BundleError(
            f"{path}: schema {values.get('schema')}; this version reads schema {SCHEMA}"
        )
    check_shape(path, values, _SHAPE)
    try:
        return _record(path, values)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def _record(path: Path, values: Mapping[str, Any]) -> PlanRecord:
    device = values.get("device")
    if device is not None:
        check_shape(path, device, {"name": str, "sm": str}, "device")
        device = Gpu(device["name"], device["sm"])
    recipe = Recipe(
        values["flavour"],
        values["version"],
        values["graph_sha256"],
        BuildOptions.from_dict(values["options"]),
        device,
    )
    own = ("bundle", "precision", "plan_sha256", "plan_bytes", "created", "build_seconds")
    built_for = str(values.get("platform", ""))
    return PlanRecord(recipe, **{name: values[name] for name in own}, platform=built_for)
