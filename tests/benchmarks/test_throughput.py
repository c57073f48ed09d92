"""Throughput: what is counted was done, a row has every field, and what waits is named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.measure.baseline import WithBaseline, baseline_engine, with_baseline
from foveate.benchmarks.measure.file_throughput import file_throughput, summary, write_images
from foveate.benchmarks.measure.targets import Variant
from foveate.benchmarks.measure.throughput import best_cell, grid, pooled_rate, saturated_rate
from foveate.benchmarks.schema.result_files import FILE_STAGES
from foveate.runtime.arrays import Pixels, feed
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.registry import ENGINES
from foveate.runtime.io.images import read_image

HELD = {"onnxruntime fp32": {"held": True}}


@pytest.fixture(scope="module")
def variant(bundle: Path) -> WithBaseline:
    return with_baseline(open_bundle(bundle), Variant("onnxruntime", "fp32"))


@pytest.fixture(scope="module")
def images(data: Path) -> list[Pixels]:
    """Three images of 160 x 160, 8 and 16 bit."""
    return [read_image(path) for path in sorted((data / "images").iterdir())[:3]]


def test_the_rate_is_that_of_completed_images() -> None:
    done: list[int] = []
    threads: set[int] = set()

    def work(number: int) -> int:
        time.sleep(0.01)
        threads.add(threading.get_ident())
        done.append(number)
        return 3

    started = time.perf_counter()
    rate = saturated_rate([work, work], 0.2)
    elapsed = time.perf_counter() - started
    assert len(threads) == 2 and sorted(set(done)) == list(range(max(done) + 1))
    assert 3 * len(done) / elapsed <= rate <= 3 * len(done) / 0.2
    assert saturated_rate([work], 0.0) > 0, "once at least"


def test_a_worker_that_fails_ends_the_measurement() -> None:
    def work(number: int) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        saturated_rate([work, work], 0.1)


def test_the_bare_engine_and_the_cascade_give_one_mask(
    variant: WithBaseline, images: list[Pixels]
) -> None:
    image = next(image for image in images if image.dtype == np.uint16)
    with variant.cascade(1) as cascade, variant.baseline(1) as bare:
        mine = cascade(image)
        assert cascade.spec.input_type == "uint16"
        found = bare(feed(image[None]))
    assert isinstance(found, list) and found[0].shape == (1, *mine.mask.shape)
    assert np.array_equal(found[0][0], mine.mask)


def test_the_grid_has_a_row_for_every_cell_and_nothing_contradicts_itself(
    variant: WithBaseline, images: list[Pixels]
) -> None:
    seen: list[tuple[int, int]] = []
    rows = grid(variant, images, (1, 4), (1, 2), 2, 0.4, lambda *at: seen.append(at))
    cells = [(row["workers"], row["batch"], row["threads"]) for row in rows]
    assert cells == [(1, 1, 2), (1, 4, 2), (2, 1, 1), (2, 4, 1)]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row in rows:
        assert set(row) == {
            "variant", "batch", "workers", "threads", "images_per_second",
            "raw_images_per_second", "share",
        }  # fmt: skip
        assert row["share"]["low"] <= row["share"]["median"] <= row["share"]["high"]
        assert row["images_per_second"] > 0
    assert best_cell(rows)["raw_images_per_second"] == max(r["raw_images_per_second"] for r in rows)


def test_files_have_a_ceiling_and_every_stage_its_share(
    variant: WithBaseline, images: list[Pixels], tmp_path: Path
) -> None:
    paths = write_images(images, tmp_path)
    best = {"workers": 1, "batch": 2, "raw_images_per_second": 20.0}
    files = file_throughput(variant, paths, best, 2, 0.5)
    assert (files["images"], files["batch"]) == (10, 2)
    assert (files["height"], files["width"]) == (160, 160)
    assert list(files["stages"]) == list(FILE_STAGES)
    core_seconds = sum(stage["core_ms"] for stage in files["stages"].values()) / 1000
    assert files["ceiling_images_per_second"] == pytest.approx(2 / core_seconds, rel=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in paths]


def test_a_slow_stage_is_the_bottleneck() -> None:
    def slow(job: int) -> None:
        time.sleep(0.02)

    fast = pooled_rate(lambda job: time.sleep(0.001), range(40), 2)
    rates = {"decode": [fast], "engine": [fast], "encode": [pooled_rate(slow, range(40), 2)]}
    found = summary({**rates, "files": [20.0]}, 2)
    assert found["bottleneck"] == "encode" and found["bottleneck_share"] > 0.6
    assert found["stages"]["encode"]["core_ms"] >= 20


def test_the_ceiling_is_cores_over_core_seconds() -> None:
    rates = {"decode": [40.0, 50.0], "engine": [10.0, 10.0], "encode": [40.0, 50.0]}
    found = summary({**rates, "files": [6.0, 7.0]}, 4)
    assert found["stages"]["engine"] == {"core_ms": 400.0, "images_per_second": 10.0}
    first, second = 1 / (1 / 10 + 2 / 40), 1 / (1 / 10 + 2 / 50)
    assert found["ceiling_images_per_second"] == pytest.approx((first + second) / 2)
    assert found["share"]["median"] == pytest.approx((6 / first + 7 / second) / 2)
    assert found["bottleneck_share"] == pytest.approx(400 / 580, abs=0.01)


def test_the_bare_engine_of_another_name_is_our_engine_called_directly(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "second", ENGINES["onnxruntime"])
    with baseline_engine(open_bundle(bundle), Variant("second", "fp32"), 1) as bare:
        found = bare(feed(np.zeros((2, 40, 50), np.uint16)))
    assert isinstance(found, dict) and found["mask"].shape == (2, 40, 50)
