"""The TensorRT engine on a GPU: the demo bundle's masks against ONNX Runtime's on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from foveate.runtime.arrays import Array, feed
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_engine import PlanEngine
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings
from foveate.runtime.errors import EngineError
from tests.gpu.conftest import OUTPUTS, disagreement

pytest.importorskip("pycuda")
pytestmark = pytest.mark.gpu


@pytest.fixture(params=[RingSettings(3), LATENCY], ids=["3 slots", "latency"])
def engine(request: pytest.FixtureRequest, plan: tuple[bytes, PlanFacts]) -> Iterator[PlanEngine]:
    with PlanEngine(*plan, CudaDevice(), request.param) as made:
        yield made


def test_the_masks_are_onnx_runtime_s(
    engine: PlanEngine, images: list[Array], expected: list[dict[str, Array]]
) -> None:
    for _ in range(3):  # plainly, captured, replayed
        tickets = [engine.submit({"image": image}, OUTPUTS) for image in images]
        found = [ticket.result() for ticket in tickets]
    masks = [item.outputs["mask"] for item in found]
    assert disagreement(masks, [item["mask"] for item in expected]) <= 0.001
    for got, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.outputs["score"], reference["score"], atol=0.01)
        assert min(got.times.h2d_ms, got.times.execute_ms, got.times.d2h_ms) > 0


def test_one_size_again_and_again_gives_one_mask(engine: PlanEngine, images: list[Array]) -> None:
    done = [engine.submit({"image": images[0]}, ["mask"]).result() for _ in range(20)]
    print("replayed:", [item.times.replayed for item in done], done[-1].times)
    for item in done[1:]:
        np.testing.assert_array_equal(item.outputs["mask"], done[0].outputs["mask"])


def test_threads_get_their_own_masks(
    engine: PlanEngine, images: list[Array], expected: list[dict[str, Array]]
) -> None:
    found: dict[int, Array] = {}

    def work(n: int) -> None:
        for _ in range(10):
            found[n] = engine.run({"image": images[n]}, ["mask"])["mask"]

    workers = [threading.Thread(target=work, args=(n,)) for n in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    masks = [found[n] for n in range(len(images))]
    assert disagreement(masks, [item["mask"] for item in expected]) <= 0.001


def test_a_size_outside_the_plan_is_refused(engine: PlanEngine) -> None:
    image = feed(np.zeros((1, 600, 600), np.uint16))
    with pytest.raises(EngineError, match='input "image" is 1x600x600x2; this plan takes 1..4x64'):
        engine.run({"image": image}, ["mask"])


def test_the_kernels_of_rtx_are_of_use_to_the_next_engine(plan: tuple[bytes, PlanFacts]) -> None:
    if plan[1].flavour != "tensorrt_rtx":
        pytest.skip("full TensorRT compiles when it builds")
    image = feed(np.zeros((1, 64, 64), np.uint16))
    with PlanEngine(*plan, CudaDevice()) as engine:
        engine.run({"image": image}, ["mask"])
        kernels = engine.runtime_cache()
    with PlanEngine(*plan, CudaDevice(), runtime_cache=kernels) as engine:
        assert engine.cache_loaded
        engine.run({"image": image}, ["mask"])


def test_ten_engines_one_after_the_other_give_their_memory_back(
    plan: tuple[bytes, PlanFacts], images: list[Array]
) -> None:
    free, kernels = [], b""
    for _ in range(10):
        with PlanEngine(*plan, CudaDevice(), runtime_cache=kernels) as engine:
            engine.run({"image": images[0]}, ["mask"])
            device, kernels = engine.device, engine.runtime_cache()
        with device.current():
            free.append(device.memory().free_bytes)
    print("MiB free after each:", [value >> 20 for value in free])
    assert free[-1] >= free[1] - (16 << 20)
