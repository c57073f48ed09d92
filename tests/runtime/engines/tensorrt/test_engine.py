"""Bundles on the ``tensorrt`` engine, over a fake device and a stand-in that runs the ONNX graph.

Shown here: which plan a call gets, order, memory and ends. What a GPU computes: tests/gpu.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.runtime.arrays import feed
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.tensorrt import plan_cache as plans
from foveate.runtime.engines.tensorrt.engine import SUFFIX, TensorRTEngine, read_kernels
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, read_record
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


def same(place: PlannedPlace, found: list, wanted: list) -> None:  # type: ignore[type-arg]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine.mask, theirs.mask)
        np.testing.assert_array_equal(mine.box_xyxy, theirs.box_xyxy)


def test_no_plan_at_all_is_said_before_the_first_image(place: PlannedPlace) -> None:
    with pytest.raises(PlanError, match=r"no plan of the fp32 graph of l.bundle.*--size HEIGHTxW"):
        place.engine()
    assert place.device.allocations == 0


def test_masks_probabilities_and_label(place: PlannedPlace, reference: Cascade) -> None:
    place.build(LARGE)
    image = images((70, 90))[0]
    with place.cascade() as cascade:
        found, wanted = cascade(image, True), reference(image, True)
        same(place, [found], [wanted])
        np.testing.assert_array_equal(found.refined, wanted.refined)  # type: ignore[arg-type]
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


def test_a_size_outside_every_plan_is_refused_with_the_line(place: PlannedPlace) -> None:
    place.build(SMALL)
    with place.cascade() as cascade, pytest.raises(PlanError) as error:
        cascade(images((64, 100))[0])
    assert "does not cover width 100 (it takes 32 to 64)" in str(error.value)
    assert str(error.value).endswith("--batch 1,1,2 --size 64x64,32x32,64x100")
    assert str(place.bundle.path) not in str(error.value).split("foveate build")[0]


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
    wanted = [reference(image) for image in given]
    same(place, found, wanted)
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


@pytest.mark.parametrize(
    ("count", "parts"), [(7, [7]), (8, [8]), (20, [8, 8, 4]), (64, [16, 16, 16, 16])]
)
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


def test_a_version_compatible_plan_is_loaded_with_its_host_code(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(replace(LARGE, version_compatible=True))
    image = images((70, 90))[0]
    source = place.source()
    place.trt.host_code = True
    with TensorRTEngine(source, RingSettings()) as engine:
        found = engine.run({"image": feed(image[None].astype(np.uint16))}, ["mask"])["mask"][0]
        np.testing.assert_array_equal(found, reference(image.astype(np.uint16)).mask)


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
    wanted = [reference(image).mask for image in given]
    with place.cascade(settings) as cascade:
        for result, mask in zip(cascade.stream(given, copy=copy), wanted, strict=True):
            np.testing.assert_array_equal(result.mask, mask)


def test_runs_of_a_stream_overlap(place: PlannedPlace) -> None:
    """While a result is used, the next run has been put into another slot."""
    place.build(LARGE)
    with place.cascade() as cascade:
        stream = cascade.stream(images(*[(64, 64)] * 6))
        next(stream)
        assert cascade.max_in_flight == 3
        list(stream)
    assert {entry[0] for entry in place.device.journal if entry[1] == "execute"} == {0, 1, 2}


def test_no_room_for_a_batch_means_a_smaller_one_and_is_said(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(LARGE)
    given = images(*[(64, 64)] * 8)
    with place.cascade(LATENCY) as cascade:
        cascade(given[0])
        place.device.faults.allocation = place.device.faults.count("allocation") + 1
        with pytest.warns(
            SmallerBatchWarning, match="no room for .* Trying 4 images at a time in place"
        ):
            found = cascade.batch(given)
        again = cascade.batch(given)
    wanted = [reference(image) for image in given]
    same(place, found, wanted)
    same(place, again, wanted)


def test_no_room_for_three_slots_means_two_and_is_said(
    place: PlannedPlace, reference: Cascade
) -> None:
    place.build(LARGE)
    image = images((64, 64))[0]
    place.most_contexts = 2
    with pytest.warns(SmallerBatchWarning, match="Trying 2 runs at a time in place of 3"):
        cascade = place.cascade()
    with cascade:
        assert cascade.max_in_flight == 2
        same(place, [cascade(image)], [reference(image)])


def test_the_kernels_of_rtx_are_kept_beside_the_plan(place: PlannedPlace) -> None:
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


def test_a_damaged_plan_is_refused_with_the_line(place: PlannedPlace) -> None:
    record = place.build(LARGE)
    path = place.cache.path(record.key, ".plan")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(EngineError, match=r"Rebuild it: foveate build l.bundle --engine tens"):
        place.engine()


def test_a_closed_cascade_says_so(place: PlannedPlace) -> None:
    place.build(LARGE)
    with place.cascade() as cascade:
        pass
    cascade.close()
    with pytest.raises(EngineError, match="has been closed"):
        cascade(images((64, 64))[0])


def test_the_records_are_read_again_only_where_the_cache_has_changed(
    place: PlannedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> PlanRecord:
        read.append(path)
        return read_record(path)

    place.build(SMALL)
    monkeypatch.setattr(plans, "read_record", counted)
    with place.engine() as engine:
        os.utime(place.cache.folder, (1e9, 1e9))
        read.clear()
        assert [engine.most_images(1, 200, 200) for _ in range(5)] == [0] * 5
        assert len(read) == 1
        place.build(LARGE)
        assert engine.most_images(1, 200, 200) == 1


def test_a_folder_with_one_size_that_no_plan_covers(place: PlannedPlace, tmp_path: Path) -> None:
    import cv2

    place.build(SMALL)
    items = []
    for index, image in enumerate(images((64, 64), (64, 100), (40, 50), (64, 64))):
        path = tmp_path / f"{index}.png"
        cv2.imwrite(str(path), image)
        items.append(Item(path, path.stem))
    with place.cascade() as cascade:
        report = segment_files(
            cascade, SegmentJob(items, Journal(tmp_path / "out")), Concurrency(2)
        )
    assert report.written == 3 and report.engines == {"tensorrt fp32": 3}
    (failure,) = report.failures
    assert failure.input.endswith("1.png") and "foveate build" in failure.reason


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


def test_plans_of_another_precision_are_not_taken(place: PlannedPlace) -> None:
    place.build(replace(LARGE, tf32=True))
    with pytest.raises(PlanError, match="the plan of the fp32 graph of l.bundle rounds float32"):
        place.engine()
