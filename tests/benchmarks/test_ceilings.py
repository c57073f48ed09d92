"""The ceilings over a fake device and a stand-in for TensorRT: by count, not by time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.measure.gpu_ceilings import Ceilings, ceiling_rows, side_rates
from foveate.benchmarks.schema.consistency import find_issues
from foveate.runtime.arrays import Array, feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan import Plan, PlanFacts
from tests.runtime.engines.cuda.fake_device import FakeDevice
from tests.runtime.engines.tensorrt.planned_place import PlannedPlace
from tests.runtime.engines.tensorrt.standin_tensorrt import over_fake

DEMO = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
LANES = 3
FETCHED = 3
"""Mask, box and score are copied back, and nothing else."""
Bench = tuple[Ceilings, FakeDevice, Array]


@pytest.fixture(params=[True, False], ids=["rtx", "full"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    device = FakeDevice(graphs=not request.param)
    profile = {"image": ((1, 1, 1, 2), (1, 64, 64, 2), (4, 128, 128, 2))}
    module = over_fake(device, [profile], request.param).module()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    image = feed(np.random.default_rng(0).integers(0, 65536, (2, 70, 60), np.uint16))
    with ExitStack() as stack:
        stack.enter_context(device.current())
        facts = PlanFacts(module.__name__, "1", "foveate build")
        plan = Plan(open_bundle(DEMO).graph("fp32"), facts)
        stack.callback(plan.close)
        made = stack.enter_context(Ceilings(device, plan, image, LANES))
        device.journal.clear()
        yield made, device, image
    assert device.clean


def counted(device: FakeDevice) -> tuple[dict[str, int], int]:
    """What began on the device since the last time, and in how many streams it was executed."""
    begun = [(stream, what) for stream, what, when in device.journal if when == "begin"]
    device.journal.clear()
    whats = Counter("execute" if what == "replay" else what for _, what in begun)
    return dict(whats), len({stream for stream, what in begun if what in ("execute", "replay")})


def test_each_ceiling_does_what_it_says_so_many_times(bench: Bench) -> None:
    made, device, _ = bench
    assert made.enqueue(7) == 14, "images, not runs"
    assert counted(device) == ({"execute": 7}, 1)
    made.enqueue(7, lanes=LANES)
    assert counted(device) == ({"execute": 7}, LANES)
    made.transfer(7)
    assert counted(device) == ({"h2d": 7, "execute": 7, "d2h": 7 * FETCHED}, LANES)


def test_a_full_tensorrt_is_replayed_as_the_runtime_replays_it(bench: Bench) -> None:
    made, device, _ = bench
    made.transfer(4)
    done = {what for _, what, _ in device.journal if what in ("execute", "replay")}
    assert done == ({"replay"} if device.graphs else {"execute"})


def test_rates_are_of_the_same_runs_on_every_side() -> None:
    calls: dict[str, list[int]] = {name: [] for name in ("cascade", "with_transfers", "other")}
    found = side_rates({name: made.append for name, made in calls.items()}, 4, 1e-9)
    assert found["runs"] == 1 and set(found["images_per_second"]) == set(calls)
    assert len({tuple(made) for made in calls.values()}) == 1
    assert found["of_ceiling"]["median"] > 0


@pytest.fixture
def place(thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlannedPlace:
    return PlannedPlace(thresholds, tmp_path, monkeypatch)


def test_a_cascade_has_a_row_a_batch_with_the_masks_of_its_plan(place: PlannedPlace) -> None:
    place.build(BuildOptions(((64, 64),), (1, 1, 8)))
    images = [np.random.default_rng(n).integers(0, 256, (64, 64), np.uint8) for n in range(2)]
    with place.cascade() as cascade:
        rows = ceiling_rows(cascade, images, (1, 3), 1e-9)
    assert [(row["variant"], row["batch"]) for row in rows] == [
        ("tensorrt fp32", 1), ("tensorrt fp32", 3),
    ]  # fmt: skip
    assert [row["disagreement"] for row in rows] == [0, 0]
    assert all(rate > 0 for row in rows for rate in row["images_per_second"].values())
    assert place.device.clean


def test_what_cannot_be_is_named() -> None:
    row = {
        "variant": "tensorrt fp16", "batch": 1, "disagreement": 0.5, "disagreement_bound": 0.01,
        "of_ceiling": {"median": 1.3, "low": 1.2, "high": 1.4},
    }  # fmt: skip
    results = {"grid": [], "files": {}, "roofline": None, "ceilings": [row]}
    parity = {"tensorrt fp16": {"held": True}}
    result = {"kind": "throughput", "parity": parity, "results": results, "warnings": []}
    first, second = find_issues(result)
    assert "disagreement 0.5000" in first and "1.20 times the ceiling" in second
