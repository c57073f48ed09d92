"""The ceilings over a fake device and a stand-in for TensorRT: by count, not by time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.gpu.bench import (
    ENQUEUE,
    ENQUEUE_ALL,
    RING,
    SLOTS,
    TRANSFERS,
    Bench,
    PlanBytes,
    bench_of,
)
from foveate.benchmarks.gpu.task import Task, rehearsal_settings
from foveate.benchmarks.gpu.throughput_step import CASCADE, rates
from foveate.runtime.bundle import open_bundle
from foveate.runtime.engines.base import feed
from foveate.runtime.engines.tensorrt_plan import PlanFacts
from tests.runtime.fake_device import FakeDevice
from tests.runtime.standin_tensorrt import over_fake

DEMO = Path(__file__).parents[2] / "benchmarks" / "demo_bundle"
FETCHED = 3
"""Mask, box and score are copied back, and nothing else."""


@pytest.fixture(params=[True, False], ids=["rtx", "full"])
def bench(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Bench, FakeDevice]]:
    rtx = request.param
    device = FakeDevice(graphs=not rtx)
    profile = {"image": ((1, 1, 1, 2), (1, 64, 64, 2), (4, 128, 128, 2))}
    module = over_fake(device, [profile], rtx).module()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    facts = PlanFacts(module.__name__, "1", "foveate build")
    plan = PlanBytes(open_bundle(DEMO).graph("fp32"), facts, b"")
    image = feed(np.random.default_rng(0).integers(0, 65536, (2, 70, 60), np.uint16))
    with bench_of(plan, device, image) as made:  # type: ignore[arg-type]
        device.journal.clear()
        yield made, device
    assert device.clean


def counted(device: FakeDevice) -> tuple[dict[str, int], int]:
    """What began on the device since the last time, and in how many streams it was executed."""
    begun = [(stream, what) for stream, what, when in device.journal if when == "begin"]
    device.journal.clear()
    whats = Counter("execute" if what == "replay" else what for _, what in begun)
    return dict(whats), len({stream for stream, what in begun if what in ("execute", "replay")})


def test_each_ceiling_does_what_it_says_so_many_times(bench: tuple[Bench, FakeDevice]) -> None:
    made, device = bench
    sides = made.sides()
    assert made.ceilings.enqueue(7) == 14, "images, not runs"
    assert counted(device) == ({"execute": 7}, 1)
    sides[ENQUEUE](7)
    assert counted(device) == ({"execute": 7}, 1)
    sides[ENQUEUE_ALL](7)
    assert counted(device) == ({"execute": 7}, SLOTS)
    sides[TRANSFERS](7)
    assert counted(device) == ({"h2d": 7, "execute": 7, "d2h": 7 * FETCHED}, SLOTS)
    sides[RING](7)
    assert counted(device) == ({"h2d": 7, "execute": 7, "d2h": 7 * FETCHED}, SLOTS)
    assert len(made.times) == 7


def test_a_full_tensorrt_is_replayed_as_the_runtime_replays_it(
    bench: tuple[Bench, FakeDevice],
) -> None:
    made, device = bench
    made.ceilings.transfer(4)
    done = {what for _, what, _ in device.journal if what in ("execute", "replay")}
    assert done == ({"replay"} if device.graphs else {"execute"})


def test_ring_and_ceiling_have_the_masks_of_the_cascade(bench: tuple[Bench, FakeDevice]) -> None:
    made, _ = bench
    masks = list(made.engine.run({"image": made.image}, ["mask"])["mask"])
    assert made.differing(masks) == {RING: 0, TRANSFERS: 0}
    masks[0] = masks[0] ^ 1
    assert made.differing(masks) == {RING: 70 * 60, TRANSFERS: 70 * 60}


def test_rates_are_of_the_same_runs_on_every_side(bench: tuple[Bench, FakeDevice]) -> None:
    made, _ = bench
    calls: list[int] = []
    task = Task(rehearsal_settings("", ""), {}, lambda found: None)
    found = rates(task, {CASCADE: calls.append, **made.sides()}, 2)
    assert found["runs_a_window"] == 1 and calls[-task.settings.windows :] == [1, 1]
    assert set(found["images_per_second"]) == {CASCADE, RING, TRANSFERS, ENQUEUE, ENQUEUE_ALL}
    assert set(found["of_ceiling"]) == {CASCADE, RING}
    assert min(found["images_per_second"].values()) > 0
