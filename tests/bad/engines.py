"""Engines and GPUs that are not there, plans that do not fit, GPUs without room.

The fake device stands in for our own interface to a GPU, and the stand-in for TensorRT takes a
graph for a plan; the words, exit codes and files are the program's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import cv2
import numpy as np

from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.tensorrt import engine as planned
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from tests.bad.case import Case, Place
from tests.runtime.engines.tensorrt.planned_place import PlannedPlace

SOUND = BuildOptions(((160, 160), (64, 64)), (1, 1, 4))


def segment(place: Place, *more: object) -> list[object]:
    """Return the command line of a folder with one sound image, on TensorRT in float32."""
    folder = place.folder / "in"
    folder.mkdir(exist_ok=True)
    (folder / "sound.png").write_bytes(place.image().read_bytes())
    asked = ("--engine", "tensorrt", "--precision", "fp32", "--workers", "1")
    return ["segment", place.bundle, folder, "--out", place.folder / "out", *asked, *more]


def without(given: str, said: str, *modules: str) -> Case:
    """Return the case of packages that cannot be imported."""

    def make(place: Place) -> list[object]:
        kit = ModuleType("tensorrt_rtx")
        kit.__dict__["__version__"] = "1.7"
        place.patch.setitem(sys.modules, "tensorrt_rtx", kit)
        for name in modules:
            place.patch.setitem(sys.modules, name, None)
        return segment(place)

    return Case(given, said, 2, make)


def on_device(
    given: str, said: str, code: int, spoil: Callable[[Place, PlannedPlace], None]
) -> Case:
    """Return the case of a GPU; ``spoil`` puts plans into its cache, and what goes wrong."""

    def make(place: Place) -> list[object]:
        here = PlannedPlace(place.bundle, place.folder / "plans", place.patch)

        def source(bundle: Bundle, precision: str, gpu: int) -> planned.PlanSource:
            return here.source(precision)

        place.patch.setattr(planned, "plan_source", source)
        arguments = segment(place)
        spoil(place, here)
        return arguments

    return Case(given, said, code, make)


def no_plan(place: Place, here: PlannedPlace) -> None:
    pass


def damaged(place: Place, here: PlannedPlace) -> None:
    path = here.cache.path(here.build(SOUND).key, ".plan")
    path.write_bytes(path.read_bytes()[:-1])


def rounding(place: Place, here: PlannedPlace) -> None:
    here.build(BuildOptions(SOUND.sizes, SOUND.batch, tf32=True))


def no_context(place: Place, here: PlannedPlace) -> None:
    here.build(SOUND)
    here.most_contexts = 0


def another_size(place: Place, here: PlannedPlace) -> None:
    here.build(SOUND)
    cv2.imwrite(str(place.folder / "in" / "wide.png"), np.zeros((160, 200), np.uint8))


def no_room(place: Place, here: PlannedPlace) -> None:
    """The first image finds no room for its buffers, the next one does."""
    here.build(SOUND)
    cv2.imwrite(str(place.folder / "in" / "a.png"), np.zeros((64, 64), np.uint8))
    here.device.faults.allocation = 1


ENGINES = [
    without("no TensorRT", "TensorRT is not installed: pip install 'foveate[tensorrt]', …",
            "tensorrt", "tensorrt_rtx"),
    without("no pycuda or no NVIDIA driver",
            "pycuda cannot be loaded (…): it needs the NVIDIA driver, and pip install …",
            "tensorrt", "pycuda.driver"),
    on_device("no plan of the bundle", "there is no plan of the fp32 graph of …. Build one: …", 2,
              no_plan),
    on_device("a damaged plan", "does not match its record. Rebuild it: …",
              2, damaged),
    on_device("a plan of another precision", "rounds float32 products. Build one: …",
              2, rounding),
    on_device("no room on the GPU for any run",
              "TensorRT cannot make an execution context: …. Use a plan for smaller batches …",
              2, no_context),
    on_device("an image that no plan covers",
              "does not cover width 200 (it takes 64 to 160). Build one: foveate build …", 1,
              another_size),
    on_device("an image that the GPU has no room for", "fake device has no room for …", 1, no_room),
]  # fmt: skip
