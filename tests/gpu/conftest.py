"""What the tests on a GPU share: plans of the demo bundle, images, and masks of the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.runtime.arrays import Array, feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.tensorrt.engine import facts_of, plan_source
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_lookup import usable
from foveate.runtime.engines.tensorrt.toolkit import installed_toolkits
from foveate.train.data.phantom import PhantomSettings, phantoms
from tests.conftest import DEMO, run

OUTPUTS = ["mask", "box", "score", "coarse"]
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


@pytest.fixture(scope="session")
def images() -> list[Array]:
    """Phantoms of three sizes, alone and in pairs, as the engine takes them."""
    made = []
    for size in (200, 256, 333):
        three = [p.image for p in phantoms(PhantomSettings(3, size, seed=size, bits=16))]
        made += [feed(np.stack(three[:1])), feed(np.stack(three[1:]))]
    return made


@pytest.fixture(scope="session")
def expected(images: list[Array]) -> list[dict[str, Array]]:
    """The outputs of ONNX Runtime on the CPU."""
    with Cascade.load(DEMO, "onnxruntime") as cascade:
        return [cascade.engine.run({"image": image}, OUTPUTS) for image in images]


def disagreement(found: list[Array], expected: list[Array]) -> float:
    """Return |A xor B| / |A or B| over all the masks together."""
    pairs = list(zip(found, expected, strict=True))
    either = sum(int(np.count_nonzero((a > 0) | (b > 0))) for a, b in pairs)
    assert either > 1000, "the masks are empty; nothing is compared"
    return sum(int(np.count_nonzero(a != b)) for a, b in pairs) / either
