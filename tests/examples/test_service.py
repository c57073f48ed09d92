"""The service: many producers, one cascade, bounded work, and an end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from foveate.runtime import Cascade
from foveate.runtime.arrays import Pixels
from foveate.runtime.errors import ImageError
from tests.examples.scripts import script

SIZES = [(31, 47), (64, 64), (5, 200), (1, 1)]


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, size).astype(np.uint8) for size in SIZES for _ in range(4)]


def test_masks_of_eight_producers_are_those_of_one(thresholds: Path, images: list[Pixels]) -> None:
    service = script("service")
    with Cascade.load(thresholds, threads=1) as cascade:
        expected = [cascade(image).mask for image in images]
        with service.Service(cascade, workers=3, most_waiting=200) as shared:

            def produce(_: int) -> list[Pixels]:
                return [done.result().mask for done in [shared.submit(image) for image in images]]

            with ThreadPoolExecutor(8) as producers:
                for masks in producers.map(produce, range(8)):
                    for mask, one in zip(masks, expected, strict=True):
                        np.testing.assert_array_equal(mask, one)
    assert not [thread for thread in threading.enumerate() if "segment" in thread.name]


def test_an_image_that_fails_fails_alone(thresholds: Path, images: list[Pixels]) -> None:
    with Cascade.load(thresholds) as cascade, script("service").Service(cascade) as service:
        bad = service.submit(np.zeros((4, 4), np.float32))
        good = service.submit(images[0])
        with pytest.raises(ImageError, match="float32"):
            bad.result()
        np.testing.assert_array_equal(good.result().mask, cascade(images[0]).mask)


def test_what_there_is_no_room_for_is_refused_and_later_taken(images: list[Pixels]) -> None:
    service, gate = script("service"), threading.Event()

    def slow(image: Pixels) -> Pixels:
        gate.wait()
        return image

    with service.Service(slow, workers=1, most_waiting=2) as busy:
        accepted = [busy.submit(image) for image in images[:3]]
        with pytest.raises(service.Busy):
            busy.submit(images[3])
        gate.set()
        for image, future in zip(images, accepted, strict=False):
            assert future.result() is image
        assert busy.submit(images[3]).result() is images[3]


def test_the_script_says_what_each_producer_saw(
    thresholds: Path, images: list[Pixels], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "scan.png"), images[0])
    (tmp_path / "text.png").write_text("no picture")
    options = ["--producers", "3", "--seconds", "0.3"]
    main = script("service").main
    result = CliRunner().invoke(main, [str(thresholds), str(tmp_path / "scan.png"), *options])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split(":")[0] for line in lines] == ["producer 0", "producer 1", "producer 2"]
    for line in lines:
        assert int(line.split(": ")[1].split(" masks")[0]) > 0 and line.endswith("0 failed")
    result = CliRunner().invoke(main, [str(thresholds), str(tmp_path / "text.png")])
    assert result.exit_code == 2 and "text.png: is not an image" in result.output
    result = CliRunner().invoke(main, ["missing.bundle", str(tmp_path / "scan.png")])
    assert result.exit_code == 2 and "no such bundle" in result.output
