"""Plans of the demo bundle, built once for all tests on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.tensorrt.engine import facts_of, plan_source
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_lookup import usable
from foveate.runtime.engines.tensorrt.toolkit import installed_toolkits
from tests.conftest import run

DEMO = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
SHAPES = ("--batch", "1,2,4", "--size", "512x512,64x64")


@pytest.fixture(scope="session")
def plans(own_cache: None) -> None:
    """Build the demo bundle in float32, for 1 to 4 images of 64 to 512 pixels a side."""
    if not installed_toolkits():
        pytest.skip("neither tensorrt nor tensorrt_rtx is installed")
    for precision in ("fp32", "tf32"):
        done = run("build", DEMO, "--precision", precision, *SHAPES)
        assert done.exception is None, done.exception


@pytest.fixture(scope="session")
def plan(plans: None) -> tuple[bytes, PlanFacts]:
    """The float32 plan, TF32 off."""
    source = plan_source(open_bundle(DEMO), "fp32")
    record = usable(source.cache, source.query)[0]
    return source.cache.read(record, str(DEMO)), facts_of(record, str(DEMO))
