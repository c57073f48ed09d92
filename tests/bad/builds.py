"""Builds that are refused before TensorRT is asked for: one line, exit code 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import record_path
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe
from tests.bad.case import Case, Place


def build(given: str, said: str, *options: object) -> Case:
    """Return the case of a sound bundle and options that no plan can be built with."""
    return Case(given, said, 2, lambda place: ["build", place.bundle, *options])


def exported(given: str, said: str, spoil: Callable[[Path], object]) -> Case:
    """Return the case of importing a plan that ``spoil`` changed after it was written."""

    def make(place: Place) -> list[object]:
        path = place.folder / "lung.plan"
        path.write_bytes(b"plan")
        recipe = Recipe("tensorrt_rtx", "1.7", "a" * 64, BuildOptions(((64, 64),)), None)
        record = PlanRecord(recipe, "lung", "fp16", "0" * 64, 4, "2026-11-23", 1.0)
        record_path(path).write_text(json.dumps(record.as_dict()))
        spoil(path)
        return ["build", "--import", path]

    return Case(given, said, 2, make)


BUILDS = [
    Case("build without arguments", "expected either a BUNDLE to build, or one of --list, …", 2,
         lambda place: ["build"]),
    build("a bundle and --list", "expected either a BUNDLE to build, or one of …", "--list"),
    build("build without --size", "--size is missing; expected HxW, for example …"),
    build("a size that is not a number",
          '--size "big": expected HxW, such as 1024x1024', "--size", "big"),
    build("a size of one number", '--size "512": expected HxW, such as 1024x1024',
          "--size", "512"),
    build("a batch of one number", "--batch is 8; expected MIN,OPT,MAX, for example 1,1,8",
          "--size", "64x64", "--batch", "8"),
    build("a batch that falls", "--batch is 8,1,1; expected MIN,OPT,MAX in rising order, …",
          "--size", "64x64", "--batch", "8,1,1"),
    build("shapes too large for any engine",
          "batch 64 of 8192x8192 needs tensors of 8589934592 elements; the limit is …",
          "--size", "8192x8192", "--batch", "1,1,64"),
    build("a target that is not a compute capability", '--target "ampere"; expected compute …',
          "--size", "64x64", "--target", "Ampere"),
    build("the GPU at hand among other targets", "--target sm86,current; current cannot be …",
          "--size", "64x64", "--target", "current,sm86"),
    exported("a plan that is not there", "lung.plan: no such plan; expected a file of …",
             lambda path: path.unlink()),
    exported("a plan without its record", "lung.plan.json: cannot be read: No such file …",
             lambda path: record_path(path).unlink()),
    exported("a plan that was changed", "does not match its record",
             lambda path: path.write_bytes(b"plam")),
    exported("a plan's record that was changed", "does not match its own record_sha256; it was …",
             lambda path: record_path(path).write_text(
                 record_path(path).read_text().replace("lung", "bone"))),
]  # fmt: skip
