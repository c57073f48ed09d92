"""Bundles on the ``tensorrt`` engine, over a fake device and a stand-in that runs the ONNX graph.

Shown here: which plan a call gets, order, memory and ends. What a GPU computes: tests/gpu.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.tensorrt.engine import SUFFIX, read_kernels
from foveate.runtime.engines.tensorrt.slot_ring import LATENCY, RingSettings
from foveate.runtime.errors import EngineError, PlanError, SmallerBatchWarning
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.journal import Journal
from foveate.runtime.segment.pipeline import SegmentJob, segment_files
from tests.runtime.engines.tensorrt.planned_place import LARGE, SMALL, Image, PlannedPlace
from tests.runtime.engines.tensorrt.standin_tensorrt import ICudaEngine


@pytest.fixture
def place(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlannedPlace]:
    made = PlannedPlace(bundle, tmp_path / "plans", monkeypatch)
    yield made
    assert made.device.clean


@pytest.fixture(scope="module")
def reference(bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(bundle, engine="onnxruntime", threads=1) as cascade:
        yield cascade


def images(*sizes: tuple[int, int]) -> list[Image]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 255, size).astype(np.uint8) for size in sizes]


def same(place: PlannedPlace, found: list, expected: list) -> None:  # type: ignore[type-arg]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.mask, theirs.mask)
        np.testing.assert_array_equal(mine.box_xyxy, theirs.box_xyxy)


def test_masks_probabilities_and_label(place: PlannedPlace, reference: Cascade) -> None:
    place.build(LARGE)
    image = images((70, 90))[0]
    with place.cascade() as cascade:
        found, expected = cascade(image, True), reference(image, True)
        same(place, [found], [expected])
        np.testing.assert_array_equal(found.refined, expected.refined)  # type: ignore[arg-type]
        assert found.engine == "tensorrt fp32" and cascade(image).coarse is None
        assert found.timings is not None and found.timings.execute_ms > 0


def test_each_call_gets_the_plan_with_the_least_room_to_spare(place: PlannedPlace) -> None:
    small, large = place.build(SMALL), place.build(LARGE)
    with place.engine() as engine:
        assert engine.record_for((1, 64, 64)) == small
        assert engine.record_for((3, 64, 64)) == large
        assert engine.record_for((1, 65, 64)) == large
        assert engine.most_images(100, 64, 64) == 8 and engine.most_images(2, 64, 64) == 2
        assert engine.most_images(1, 300, 64) == 0


def test_a_plan_built_in_the_meantime_is_found(place: PlannedPlace, reference: Cascade) -> None:
    place.build(SMALL)
    image = images((64, 100))[0]
    with place.cascade() as cascade:
        with pytest.raises(PlanError):
            cascade(image)
        place.build(LARGE)
        same(place, [cascade(image)], [reference(image)])


def test_sizes_that_no_plan_covers_go_to_the_spare_engine(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(SMALL)
    given = images((64, 64), (64, 100), (50, 40), (64, 100))
    with place.cascade(fallback=True) as cascade:
        found = [cascade(image) for image in given]
        together = cascade.batch(given)
    expected = [reference(image) for image in given]
    same(place, found, expected)
    cpu, gpu = "onnxruntime fp32", "tensorrt fp32"
    assert [r.engine for r in found] == [r.engine for r in together] == [gpu, cpu, gpu, cpu]


def test_batches_are_as_large_as_the_plan_takes(place: PlannedPlace, reference: Cascade) -> None:
    place.build(SMALL)
    given = images(*[(64, 64)] * 5, (40, 50))
    with place.cascade() as cascade:
        found = cascade.batch(given)
    same(place, found, [reference(image) for image in given])
    executed = [entry for entry in place.device.journal if entry[1:] == ("execute", "begin")]
    assert len(executed) == 4  # two pairs, one single, the other size


@pytest.mark.parametrize(("count", "parts"), [(8, [8]), (20, [8, 8, 4])])
def test_a_batch_is_divided_over_the_slots(
    place: PlannedPlace, count: int, parts: list[int]
) -> None:
    place.build(replace(LARGE, batch=(1, 1, 64)))
    with place.cascade() as cascade:
        results = cascade.batch(images(*[(40, 50)] * count))
        assert len(results) == count
        ran = [c.shapes["image"][0] for c in place.trt.contexts if c.shapes]
        executed = [entry for entry in place.device.journal if entry[1:] == ("execute", "begin")]
        assert len(executed) == len(parts) and set(ran) <= set(parts)
    with place.cascade(LATENCY) as cascade:
        before = len(place.device.journal)
        cascade.batch(images(*[(40, 50)] * count))
        ran_once = [e for e in place.device.journal[before:] if e[1:] == ("execute", "begin")]
        assert len(ran_once) == 1


def test_parts_of_one_batch_overlap(place: PlannedPlace) -> None:
    """The second part is copied in before the first one has executed."""
    place.build(replace(LARGE, batch=(1, 1, 64)))
    with place.cascade() as cascade:
        cascade.batch(images(*[(40, 50)] * 16))
        place.device.journal.clear()
        gate = threading.Event()
        run = ICudaEngine.run

        def held(*given: Any) -> None:
            assert gate.wait(20)
            run(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ICudaEngine, "run", held)
            opened = threading.Timer(0.2, gate.set)
            opened.start()
            cascade.batch(images(*[(40, 50)] * 16))
        events = [entry[1:] for entry in place.device.journal]
        assert events.count(("h2d", "end")) == 2
        assert [e for e in events if e in (("h2d", "end"), ("execute", "end"))][:2] == [
            ("h2d", "end"),
            ("h2d", "end"),
        ]


def test_a_mask_for_the_caller_s_array_is_copied_once(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(LARGE)
    image = images((70, 90))[0]
    out = np.full((70, 90), 7, np.uint8)
    with place.cascade() as cascade:
        result = cascade(image, out=out)
        assert result.mask is out and not np.shares_memory(result.box_xyxy, out)
        kept = out.copy()
        for other in images(*[(70, 90)] * 7):
            cascade(other)  # every slot is used again
        np.testing.assert_array_equal(out, kept)
        np.testing.assert_array_equal(out, reference(image).mask)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("settings", [RingSettings(3), LATENCY], ids=["3 slots", "latency"])
def test_a_stream_is_in_order_and_its_views_are_valid_until_the_next(
    place: PlannedPlace, reference: Cascade, settings: RingSettings, copy: bool
) -> None:
    place.build(LARGE)
    given = images(*[(60 + n % 3, 70) for n in range(12)])
    expected = [reference(image).mask for image in given]
    with place.cascade(settings) as cascade:
        for result, mask in zip(cascade.stream(given, copy=copy), expected, strict=True):
            np.testing.assert_array_equal(result.mask, mask)


def test_no_room_for_a_batch_means_a_smaller_one_and_is_said(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(LARGE)
    given = images(*[(64, 64)] * 8)
    with place.cascade(LATENCY) as cascade:
        cascade(given[0])
        place.device.faults.allocation = place.device.faults.count("allocation") + 1
        with pytest.warns(
            SmallerBatchWarning, match="no room for .* Trying 4 images at a time instead"
        ):
            found = cascade.batch(given)
        again = cascade.batch(given)
    expected = [reference(image) for image in given]
    same(place, found, expected)
    same(place, again, expected)


def test_no_room_for_three_slots_means_two_and_is_said(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(LARGE)
    image = images((64, 64))[0]
    place.most_contexts = 2
    with pytest.warns(SmallerBatchWarning, match="Trying 2 runs at a time instead of 3"):
        cascade = place.cascade()
    with cascade:
        assert cascade.max_in_flight == 2
        same(place, [cascade(image)], [reference(image)])


def test_the_kernels_of_rtx_are_kept_next_to_the_plan(place: PlannedPlace) -> None:
    record = place.build(LARGE)
    with place.engine():
        pass
    assert read_kernels(place.cache, record) == b"kernels"
    with place.engine() as engine:
        assert engine._engines[record.key].cache_loaded is True
    path = place.cache.path(record.key, SUFFIX)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_kernels(place.cache, record) == b""
    with place.engine() as engine:
        assert engine._engines[record.key].cache_loaded is None


def test_an_engine_that_fails_stops_the_folder(place: PlannedPlace, tmp_path: Path) -> None:
    """A refused run is the engine's; every other file would fail the same way."""
    import cv2

    place.build(SMALL)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), images((64, 64))[0])
    with place.cascade() as cascade:
        place.trt.refuse_runs = True
        with pytest.raises(EngineError, match="cannot run the plan: enqueue: no"):
            segment_files(
                cascade, SegmentJob([Item(path, "a")], Journal(tmp_path / "out")), Concurrency(2)
            )
