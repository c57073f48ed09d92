"""A plan of the demo bundle, built here with whichever TensorRT is installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from foveate.runtime.bundle import open_bundle
from foveate.runtime.engines.tensorrt_plan import PlanFacts

DEMO = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
SIDES = ((1, 64, 64, 2), (2, 256, 256, 2), (4, 512, 512, 2))


def demo_plan() -> tuple[bytes, PlanFacts]:
    """Return a plan in float32, TF32 off, for 1 to 4 images of 64 to 512 pixels a side."""
    trt = _tensorrt()
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(open_bundle(DEMO).graph("fp32")), parser.get_error(0)
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape("image", *SIDES)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    return bytes(memoryview(plan)), PlanFacts(trt.__name__, trt.__version__, "foveate build")


def _tensorrt() -> Any:
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    pytest.skip("neither tensorrt nor tensorrt_rtx is installed")
