"""A cache with plans of a bundle, and engines on a fake device with a stand-in for TensorRT."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveate.runtime.auto.choose import Choice
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade, cpu_session
from foveate.runtime.cascade.fallback import Fallback
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.engine import PlanSource, TensorRTEngine
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe
from foveate.runtime.engines.tensorrt.slot_ring import RingSettings
from tests.runtime.engines.cuda.fake_device import FakeDevice
from tests.runtime.engines.tensorrt.standin_tensorrt import StandIn, over_fake

VERSION, GPU = "0.standin", Gpu("fake device", "sm90")
SMALL = BuildOptions(((64, 64), (32, 32)), (1, 1, 2))
LARGE = BuildOptions(((200, 200), (32, 32)), (1, 1, 8))
Image = npt.NDArray[np.uint8]


class PlannedPlace:
    """The stand-in takes the graph itself for a plan; ``most_contexts`` is all it has room for."""

    def __init__(self, bundle: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.bundle, self.cache = open_bundle(bundle), PlanCache(folder)
        self.device = FakeDevice()
        self._patch = patch
        self.most_contexts = -1
        self.trt: StandIn

    def build(self, options: BuildOptions, precision: str = "fp32") -> PlanRecord:
        """Put a plan into the cache: the stand-in takes the graph itself for one."""
        sha256 = self.bundle.graph_sha256(precision)
        recipe = Recipe("tensorrt_rtx", VERSION, sha256, options, None)
        graph = self.bundle.graph(precision)
        built = self.cache.build_once(recipe, "l", precision, lambda log: graph, lambda: None)
        return built[0]

    def source(self, precision: str = "fp32") -> PlanSource:
        """Return where plans come from, with a stand-in for TensorRT put in its module's place."""
        spec = self.bundle.spec
        tail = (spec.input_channels,) if spec.input_channels > 1 else ()
        tail += (2,) if spec.input_type == "uint16" else ()
        limits = {"image": ((1, 1, 1, *tail), (1, 64, 64, *tail), (64, 4096, 4096, *tail))}
        self.trt = over_fake(self.device, [limits])
        self.trt.most_contexts = self.most_contexts
        self._patch.setitem(sys.modules, "tensorrt_rtx", self.trt.module())
        sha256 = self.bundle.graph_sha256(precision)
        expected = PlanQuery("tensorrt_rtx", VERSION, GPU, "l.bundle", precision, sha256)
        return PlanSource(self.cache, expected, lambda: self.device)

    def engine(self, settings: RingSettings = RingSettings()) -> TensorRTEngine:  # noqa: B008
        return TensorRTEngine(self.source(), settings)

    def cascade(self, settings: RingSettings = RingSettings(), fallback: bool = False) -> Cascade:  # noqa: B008
        cpu = Fallback(partial(cpu_session, self.bundle, 1)) if fallback else None
        choice = Choice("tensorrt", "fp32", "")
        return Cascade(self.bundle, self.engine(settings), choice, cpu)
