"""Workers, batches, budgets: nothing is lost, nothing waits for ever, faults are raised."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import ImageError
from foveate.runtime.limits import PixelBudget
from foveate.runtime.result import Result
from foveate.runtime.segment.batcher import Batcher
from foveate.runtime.segment.concurrency import WorkerOptions, choose_concurrency
from foveate.runtime.segment.workers import WorkerPool


def test_stop_finishes_what_is_in_flight_and_takes_nothing_more() -> None:
    stop, taken = threading.Event(), []

    def work(number: int) -> int:
        taken.append(number)
        if number == 5:
            stop.set()
        return number

    done = list(WorkerPool(work, 2, stop).run(range(1000)))
    assert sorted(done) == sorted(taken) and 6 <= len(done) <= 8


def test_a_worker_that_dies_is_raised_and_ends_the_others() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise SystemError("the worker is dead")
        time.sleep(0.001)
        return number

    done = []
    with pytest.raises(SystemError, match="the worker is dead"):
        for one in WorkerPool(work, 3, threading.Event()).run(range(10_000)):
            done.append(one)
    assert 3 not in done and len(done) < 1000
    assert not [t for t in threading.enumerate() if t.name.startswith("foveate-")]


class Counting(Cascade):
    """A cascade that notes the sizes of its batches, and the milliseconds that they took."""

    sizes: list[int]
    ms: list[float]

    def batch(self, images, probabilities=False) -> list[Result]:  # type: ignore[no-untyped-def]
        self.sizes.append(len(images))
        found = super().batch(images, probabilities)
        self.ms.append(execute_ms(found[:1]))
        return found


def execute_ms(results: list[Result]) -> float:
    return sum(result.timings.execute_ms for result in results if result.timings)


@pytest.fixture(scope="module")
def cascade(bundle: Path) -> Counting:
    made = Counting.load(bundle, "onnxruntime", threads=1)
    assert isinstance(made, Counting)
    made.sizes, made.ms = [], []
    return made


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 255, size).astype(np.uint8) for size in sizes]


def test_images_of_one_size_share_a_call_and_keep_their_own_masks(cascade: Counting) -> None:
    given = images(*[(64, 64), (50, 70)] * 6)
    expected = [cascade(image).mask for image in given]
    cascade.sizes.clear()
    cascade.ms.clear()
    batcher = Batcher(cascade, 4, wait_s=0.5)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(batcher, given))
    for result, mask in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result.mask, mask)
    assert sorted(cascade.sizes) == [2, 2, 4, 4]
    assert execute_ms(found) == pytest.approx(sum(cascade.ms))


def test_one_image_s_error_is_no_other_s(cascade: Counting) -> None:
    """All of one shape; a type that no image has fails the whole batch at first."""
    good = images((64, 64))[0]
    batcher = Batcher(cascade, 3, wait_s=0.2)
    bad = np.zeros((64, 64, 3), np.uint8)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher, image) for image in (good, bad, good)]  # type: ignore[arg-type]
        assert futures[0].result().mask.shape == futures[2].result().mask.shape == (64, 64)
        with pytest.raises(ImageError):
            futures[1].result()


def test_pixels_in_flight_stay_within_the_budget_and_large_images_get_their_turn() -> None:
    budget, lock, used, most, order = PixelBudget(100), threading.Lock(), [0], [0], []

    def work(pixels: int) -> None:
        with budget.room(pixels):
            with lock:
                used[0] += min(pixels, 100)
                most[0] = max(most[0], used[0])
            time.sleep(0.002)
            order.append(pixels)
            with lock:
                used[0] -= min(pixels, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 30, 500, *[30] * 30]))
    assert most[0] == 100 and len(order) == 33
    assert order.index(500) < 20


def test_a_plan_leaves_no_core_without_work(cascade: Counting) -> None:
    image = images((64, 64))[0]
    assert choose_concurrency(cascade, WorkerOptions(), 1000, 8).workers == 8
    assert choose_concurrency(cascade, WorkerOptions(threads=4), 1000, 8).workers == 2
    assert choose_concurrency(cascade, WorkerOptions(), 3, 8).workers == 3
    assert choose_concurrency(cascade, WorkerOptions(workers=5, batch=2), 1000, 8).workers == 5
    assert choose_concurrency(cascade, WorkerOptions(batch=4), 1000, 2).workers == 8
    measured = choose_concurrency(cascade, WorkerOptions(), 1000, 2, image)
    assert "1" in measured.measured_ms and measured.workers == 2 * measured.batch
    assert choose_concurrency(cascade, WorkerOptions(), 10, 2, image).measured_ms == {}
    few = choose_concurrency(cascade, WorkerOptions(workers=1), 1000, 2, image)
    assert few.batch == 1  # a larger one would wait for images that never come


def test_ctrl_c_waits_for_no_worker() -> None:
    ended, held = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number:
            held.wait(30)
            ended.set()
        return number

    outcomes = WorkerPool(work, 2, threading.Event()).run(range(2))
    assert next(outcomes) == 0
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert not ended.is_set()
    held.set()
    assert ended.wait(30)
