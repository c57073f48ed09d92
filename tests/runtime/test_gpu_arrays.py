"""Arrays on the GPU in and out, over the fake device. No GPU is shown here."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.build_options import BuildOptions
from foveate.runtime.cascade import Cascade
from foveate.runtime.errors import ImageError
from foveate.runtime.foreign_arrays import taken
from tests.runtime.fake_device import FakeGpuArray
from tests.runtime.planned_place import Image, PlannedPlace

LARGE = BuildOptions(((200, 200), (32, 32)), (1, 1, 2))


@pytest.fixture
def place(
    thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PlannedPlace]:
    made = PlannedPlace(thresholds, tmp_path / "plans", monkeypatch)
    made.build(LARGE)
    yield made
    assert made.device.clean


def spotted(height: int, width: int) -> Image:
    image = np.full((height, width), 20, np.uint8)
    image[height // 4 : height // 2, width // 3 : width // 2] = 230
    return image


def done(place: PlannedPlace, what: str) -> int:
    return sum(entry[1:] == (what, "end") for entry in place.device.journal)


def test_an_image_and_its_mask_on_the_gpu_make_no_trip_to_the_host(place: PlannedPlace) -> None:
    image = spotted(90, 70)
    with place.cascade() as cascade:
        wanted = cascade(image).mask
        trips = {what: done(place, what) for what in ("h2d", "d2h")}
        given = FakeGpuArray(place.device, image, None)
        out = FakeGpuArray(place.device, np.full_like(image, 9), None)
        result = cascade(given, out=out)
        assert result.mask is out and wanted.any()  # type: ignore[comparison-overlap]
        np.testing.assert_array_equal(out.on_host(), wanted)
        assert done(place, "h2d") == trips["h2d"] and done(place, "d2d") == 2
        assert done(place, "d2h") == trips["d2h"] + 1  # box and score
        np.testing.assert_array_equal(cascade(given).mask, wanted)
        np.testing.assert_array_equal(cascade.submit(given).result().mask, wanted)
        for result in cascade.batch([given, image, given]):
            np.testing.assert_array_equal(result.mask, wanted)
        np.testing.assert_array_equal(cascade(image, out=out).mask.on_host(), wanted)  # type: ignore[attr-defined]
    given.free()
    out.free()


def test_a_run_waits_for_the_stream_that_makes_its_image(place: PlannedPlace) -> None:
    image = spotted(60, 60)
    with place.cascade() as cascade:
        wanted = cascade(image).mask
        with place.device.current():
            theirs = place.device.stream()
            late = FakeGpuArray(place.device, np.zeros_like(image), theirs.handle)

            def write() -> None:
                memory = place.device.at(late.address, image.nbytes)
                memory[:] = image.ravel()

            for _ in range(50):
                theirs.put("kernel", lambda: None)
            theirs.put("kernel", write)
        np.testing.assert_array_equal(cascade(late).mask, wanted)
        with place.device.current():
            theirs.close()
    late.free()


def test_an_array_is_kept_until_its_run_is_over(place: PlannedPlace) -> None:
    with place.cascade() as cascade:
        given = FakeGpuArray(place.device, spotted(60, 60), None)
        before = sys.getrefcount(given)
        call = cascade.begin(given)
        assert sys.getrefcount(given) > before
        call.finish()
        del call
        gc.collect()
        assert sys.getrefcount(given) == before
    given.free()


class Strided:
    """An array on the GPU that is every other column of another one."""

    __cuda_array_interface__ = {
        "shape": (8, 8), "typestr": "|u1", "data": (4096, False), "strides": (16, 2), "version": 3,
    }  # fmt: skip


class OnlyDlpack:
    """An array on a CUDA GPU without the other interface."""

    def __dlpack__(self, **options: object) -> object:
        raise AssertionError("not asked for")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


def test_what_cannot_be_taken_on_the_gpu_is_named(place: PlannedPlace, thresholds: Path) -> None:
    wide = FakeGpuArray(place.device, np.zeros((40, 40), np.uint16), None)
    flat = FakeGpuArray(place.device, np.zeros(1600, np.uint8), None)
    fine = FakeGpuArray(place.device, np.zeros((40, 40), np.uint8), None)
    with place.cascade() as cascade:
        with pytest.raises(ImageError, match="uint16; wanted .H, W. uint8, the bundle's own"):
            cascade(wide)
        with pytest.raises(ImageError, match=r"\(1600,\) uint8; wanted \(H, W\)"):
            cascade(flat)
        with pytest.raises(ImageError, match=r"out is \(40, 40\) uint16; wanted \(40, 40\) uint8"):
            cascade(fine, out=wide)
        assert cascade(fine).mask.shape == (40, 40)
    with pytest.raises(ImageError, match="strides"):
        taken(Strided())
    with pytest.raises(ImageError, match="has no __cuda_array_interface__"):
        taken(OnlyDlpack())
    with Cascade.load(thresholds, "onnxruntime", threads=1) as cpu:
        for image, out in ((fine, None), (np.zeros((40, 40), np.uint8), fine)):
            with pytest.raises(ImageError, match="onnxruntime fp32 works on the host's"):
                cpu(image, out=out)
    for array in (wide, flat, fine):
        array.free()


def test_a_default_stream_is_waited_for_where_none_is_named() -> None:
    class Old:
        __cuda_array_interface__ = {
            "shape": (4, 4), "typestr": "|u1", "data": (4096, False), "version": 2,
        }  # fmt: skip

    assert taken(Old()).producer == 1  # type: ignore[union-attr]
