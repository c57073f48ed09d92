"""What an integrator counts on: threads, futures, faults that stay one image's own, and ends."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import torch
from numpy.lib.stride_tricks import as_strided

from foveate.runtime import Cascade
from foveate.runtime.cascade.warm_up import Refused
from foveate.runtime.errors import EngineError, ImageError, SettingsError

SIZES = [(64, 64), (31, 200), (1, 90), (129, 63), (200, 117), (64, 64), (301, 5), (90, 90)]
Image = npt.NDArray[np.uint8]


def spotted(height: int, width: int, at: int = 0) -> Image:
    image = np.full((height, width), 20 + at, np.uint8)
    image[height // 4 : height // 4 + height // 3 + 1, width // 3 : width // 2 + 1] = 230
    return image


@pytest.fixture
def images() -> list[Image]:
    return [spotted(*size, at) for at, size in enumerate(SIZES)]


@pytest.fixture(params=["onnxruntime", "openvino"])
def cascade(request: pytest.FixtureRequest, thresholds: Path) -> Iterator[Cascade]:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    with Cascade.load(thresholds, request.param, threads=1) as loaded:
        yield loaded


def test_eight_threads_get_the_masks_of_one(cascade: Cascade, images: list[Image]) -> None:
    """Called, in batches and submitted, all at once."""
    expected = [cascade(image).mask for image in images]
    ready = threading.Barrier(8)

    def work(number: int) -> list[Image]:
        ready.wait(30)
        if number % 3 == 0:
            return [cascade(image).mask for image in images]
        if number % 3 == 1:
            return [result.mask for result in cascade.batch(images)]
        return [future.result().mask for future in [cascade.submit(image) for image in images]]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            for mask, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mask, theirs)
    assert any(mask.any() for mask in expected)


def test_a_bad_image_is_its_own_future_s_alone(cascade: Cascade, images: list[Image]) -> None:
    expected = [cascade(image).mask for image in images]
    bad = [np.zeros((4, 4, 3), np.uint8), np.zeros((0, 3), np.uint8), np.zeros((4, 4), np.float32)]
    mixed = [item for at, image in enumerate(images) for item in (image, bad[at % 3])]
    futures = [cascade.submit(item) for item in mixed]  # type: ignore[arg-type]
    for mask, future in zip(expected, futures[::2], strict=True):
        np.testing.assert_array_equal(future.result().mask, mask)
    for future in futures[1::2]:
        with pytest.raises(ImageError, match="expected"):
            future.result()


def test_an_image_may_change_when_submit_has_returned(cascade: Cascade) -> None:
    image = spotted(300, 200)
    expected = cascade(image).mask
    futures = []
    for _ in range(6):
        frame = image.copy()
        futures.append(cascade.submit(frame))
        frame[:] = 0
    for future in futures:
        np.testing.assert_array_equal(future.result().mask, expected)


def test_futures_are_done_in_order_and_few_are_in_flight(cascade: Cascade) -> None:
    done: list[int] = []
    waiting = [0]
    most = 0
    for number in range(30):
        waiting[0] += 1
        future = cascade.submit(spotted(64, 64))
        future.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]
        future.add_done_callback(lambda _: waiting.__setitem__(0, waiting[0] - 1))
        most = max(most, waiting[0])
    cascade.close()
    assert done == list(range(30)) and most <= 4


def test_probabilities_and_cancelling(cascade: Cascade) -> None:
    assert cascade.submit(spotted(64, 64), True).result().refined is not None
    for _ in range(20):  # each cancelled one gives its place back
        cascade.submit(spotted(64, 64)).cancel()
    assert cascade.submit(spotted(64, 64)).result().mask.any()


def test_close_finishes_what_was_submitted_and_leaves_no_thread(thresholds: Path) -> None:
    before = threading.active_count()
    with Cascade.load(thresholds, "onnxruntime", threads=1) as cascade:
        futures = [cascade.submit(spotted(200, 200)) for _ in range(3)]
        assert threading.active_count() == before + 1
    assert all(future.done() and future.result().mask.any() for future in futures)
    assert threading.active_count() == before
    with pytest.raises(EngineError, match="has been closed"):
        cascade.submit(spotted(8, 8))


def test_a_cascade_that_is_dropped_is_freed(thresholds: Path) -> None:
    before = threading.active_count()
    cascade = Cascade.load(thresholds, "onnxruntime", threads=1)
    engine, future = weakref.ref(cascade.engine), cascade.submit(spotted(64, 64))
    future.result()
    del cascade
    ends = time.monotonic() + 10
    while (engine() or threading.active_count() > before) and time.monotonic() < ends:
        time.sleep(0.01)
        gc.collect()
    assert engine() is None and threading.active_count() == before
    assert future.result().mask.any()


def test_a_callback_that_exits_stops_nothing(
    cascade: Cascade, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = cascade.submit(np.zeros((1000, 1000), np.uint8))
    waiting.add_done_callback(lambda _: sys.exit(3))
    futures = [cascade.submit(spotted(64, 64)) for _ in range(9)]
    assert all(future.result(60).mask.any() for future in futures)
    assert "exception calling callback" in caplog.text and "SystemExit: 3" in caplog.text


def test_opening_and_closing_leaves_no_thread_and_no_file(thresholds: Path) -> None:
    process = psutil.Process()

    def once() -> None:
        with Cascade.load(thresholds, "onnxruntime", threads=2) as cascade:
            cascade.submit(spotted(64, 64)).result()
            list(cascade.stream([spotted(64, 64)]))

    def held() -> tuple[int, int]:
        return process.num_threads(), process.num_fds()

    once()
    time.sleep(0.2)  # a thread that was joined is the system's for a moment longer
    first = held()
    for _ in range(8):
        once()
    ends = time.monotonic() + 5
    while held() != first and time.monotonic() < ends:
        time.sleep(0.02)
    assert held() == first


def test_warm_up_compiles_for_the_calls_that_a_batch_is_divided_into(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    with Cascade.load(thresholds, engine="openvino") as cascade:
        cascade.warm_up([(6, 1024, 1024)])
        assert sorted(cascade.engine._fixed) == [(2, 1024, 1024), (4, 1024, 1024)]  # type: ignore[attr-defined]


def test_warm_up_says_what_is_refused(thresholds: Path) -> None:
    with Cascade.load(thresholds, "onnxruntime", threads=1) as cascade:
        refused = cascade.warm_up([(64, 64), (3, 40, 50), (50_000, 50_000), (1, 9)])
        assert [item.shape for item in refused] == [(50_000, 50_000)]
        assert isinstance(refused[0], Refused) and "elements" in refused[0].reason
        for wrong in [(4,), (0, 4), (1, 2, 3, 4)]:
            with pytest.raises(SettingsError, match=r"expected a list of \(H, W\) or \(N, H, W\)"):
                cascade.warm_up([wrong])
    with pytest.raises(EngineError, match="closed"):
        cascade.warm_up([(64, 64)])


def test_host_arrays_of_other_libraries_go_in_and_out(cascade: Cascade) -> None:
    image = spotted(90, 70)
    expected = cascade(image).mask
    tensor, out = torch.from_numpy(image), torch.zeros(90, 70, dtype=torch.uint8)
    np.testing.assert_array_equal(cascade(tensor).mask, expected)
    np.testing.assert_array_equal(cascade.batch([tensor, image])[0].mask, expected)
    np.testing.assert_array_equal(cascade.submit(tensor).result().mask, expected)
    result = cascade(image, out=out)
    assert result.mask is out and np.array_equal(out.numpy(), expected)  # type: ignore[comparison-overlap]
    np.testing.assert_array_equal(cascade(tensor.T).mask.shape, (70, 90))
    with pytest.raises(ImageError, match="float32"):
        cascade(torch.zeros(4, 4))
    with pytest.raises(ImageError, match="DLPack"):
        cascade(torch.zeros(4, 4, requires_grad=True))


class Odd(np.ndarray[Any, Any]):
    """A subclass whose arithmetic is not numpy's."""

    def astype(self, *options: Any, **more: Any) -> Any:
        return np.zeros_like(np.asarray(self), *options, **more)


def test_subclasses_are_numpy_arrays_and_masked_ones_are_refused(cascade: Cascade) -> None:
    image = spotted(90, 70).astype(np.uint16) * 257  # of the type that is converted
    expected = cascade(image).mask
    assert expected.any()
    for use in (cascade, lambda image: cascade.submit(image).result()):
        np.testing.assert_array_equal(use(image.view(Odd)).mask, expected)
    hidden = np.ma.masked_array(image, image > 9)
    with pytest.raises(ImageError, match=r"MaskedArray.* its \.data, or \.filled"):
        cascade.submit(hidden).result()
    with pytest.raises(ImageError, match="MaskedArray"):
        cascade(image, out=np.ma.masked_array(np.zeros((90, 70), np.uint8)))


def test_a_mask_may_be_written_over_its_image(cascade: Cascade) -> None:
    """The image itself, or memory that overlaps it, turned or moved by a row."""
    image = spotted(64, 64)
    expected = cascade(image).mask
    memory = np.zeros((66, 64), np.uint8)
    for out in (memory[1:65], memory[1:65][::-1, ::-1], memory[:64], memory[2:]):
        memory[1:65] = image
        np.testing.assert_array_equal(cascade(memory[1:65], out=out).mask, expected)


def test_an_out_that_overlaps_itself(cascade: Cascade) -> None:
    for strides in ((0, 1), (1, 0), (1, 1), (2, 3), (0, 0), (-7, 1)):
        out = as_strided(np.zeros(400, np.uint8)[60:], (8, 8), strides)
        with pytest.raises(ImageError, match="pixels share their memory"):
            cascade(spotted(8, 8), out=out)
    for apart in ((8, 1), (1, 8), (-9, 2), (3, 25)):
        out = as_strided(np.zeros(400, np.uint8)[100:], (8, 8), apart)
        assert cascade(spotted(8, 8), out=out).mask is out
