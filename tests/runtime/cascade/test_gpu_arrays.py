"""Arrays on the GPU in and out, over the fake device. No GPU is shown here."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime import Cascade, Decision
from foveate.runtime.agreement import dice
from foveate.runtime.auto.choose import Choice
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.errors import ImageError
from foveate.runtime.foreign_arrays import as_image
from tests.drawing import ellipse, in_channels
from tests.runtime.engines.cuda.fake_device import FakeGpuArray
from tests.runtime.engines.tensorrt.planned_place import Image, PlannedPlace
from tests.threshold_bundle import write_threshold_bundle

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
        expected = cascade(image).mask
        trips = {what: done(place, what) for what in ("h2d", "d2h")}
        given = FakeGpuArray(place.device, image, None)
        out = FakeGpuArray(place.device, np.full_like(image, 9), None)
        result = cascade(given, out=out)
        assert result.mask is out and expected.any()  # type: ignore[comparison-overlap]
        np.testing.assert_array_equal(out.on_host(), expected)
        assert done(place, "h2d") == trips["h2d"] and done(place, "d2d") == 2
        assert done(place, "d2h") == trips["d2h"] + 1  # box and score
        np.testing.assert_array_equal(cascade(given).mask, expected)
        np.testing.assert_array_equal(cascade.submit(given).result().mask, expected)
        for result in cascade.batch([given, image, given]):
            np.testing.assert_array_equal(result.mask, expected)
        np.testing.assert_array_equal(cascade(image, out=out).mask.on_host(), expected)  # type: ignore[attr-defined]
    given.free()
    out.free()


def test_a_run_waits_for_the_stream_that_makes_its_image(place: PlannedPlace) -> None:
    image = spotted(60, 60)
    with place.cascade() as cascade:
        expected = cascade(image).mask
        with place.device.current():
            theirs = place.device.stream()
            late = FakeGpuArray(place.device, np.zeros_like(image), theirs.handle)

            def write() -> None:
                memory = place.device.at(late.address, image.nbytes)
                memory[:] = image.ravel()

            for _ in range(50):
                theirs.put("kernel", lambda: None)
            theirs.put("kernel", write)
        np.testing.assert_array_equal(cascade(late).mask, expected)
        with place.device.current():
            theirs.close()
    late.free()


def test_an_array_is_kept_until_its_run_is_over(place: PlannedPlace) -> None:
    with place.cascade() as cascade:
        given = FakeGpuArray(place.device, spotted(60, 60), None)
        before = sys.getrefcount(given)
        begun = cascade._session.begin([as_image(given)])  # type: ignore[arg-type]
        assert sys.getrefcount(given) > before
        begun.results()
        del begun
        gc.collect()
        assert sys.getrefcount(given) == before
    given.free()


class Described:
    """An array on the GPU of (8, 8) or another shape, described as told."""

    def __init__(self, shape: tuple[int, ...] = (8, 8), **more: object) -> None:
        data = {"shape": shape, "typestr": "|u1", "data": (16, False), "version": 3}
        self.__cuda_array_interface__ = data | more


def test_what_cannot_be_taken_on_the_gpu_is_named(place: PlannedPlace) -> None:
    wide = FakeGpuArray(place.device, np.zeros((40, 40), np.uint16), None)
    flat = FakeGpuArray(place.device, np.zeros(1600, np.uint8), None)
    fine = FakeGpuArray(place.device, np.zeros((40, 40), np.uint8), None)
    with place.cascade() as cascade:
        with pytest.raises(ImageError, match="uint16; expected .H, W. uint8, the bundle's own"):
            cascade(wide)
        with pytest.raises(ImageError, match=r"\(1600,\) uint8; expected \(H, W\)"):
            cascade(flat)
        with pytest.raises(
            ImageError, match=r"out is \(40, 40\) uint16; expected \(40, 40\) uint8"
        ):
            cascade(fine, out=wide)
        assert cascade(fine).mask.shape == (40, 40)
    for array, said in (
        (Described(strides=(16, 2)), "has strides"),
        (Described((8, 8), strides=(1, 8)), "has strides"),
        (Described(version=4), "version 4 of __cuda_array_interface__; expected 3 or older"),
        (Described(mask=Described()), "has a mask of valid elements"),
    ):
        with pytest.raises(ImageError, match=said):
            as_image(array)  # type: ignore[arg-type]  # it has no interface
    for array in (wide, flat, fine):
        array.free()


def test_memory_of_another_gpu_or_of_none_is_refused(place: PlannedPlace) -> None:
    image = spotted(60, 60)
    other, unknown = Described((60, 60), data=(0x77000, False)), Described((60, 60))
    place.device.elsewhere[0x77000] = 1
    with place.cascade() as cascade:
        expected = cascade(image).mask
        for given, out in ((other, None), (image, other)):
            with pytest.raises(ImageError, match="on GPU 1, .* on GPU 0: .* gpu=1"):
                cascade(given, out=out)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="no GPU holds the address 0x10 .* memory of GPU 0"):
            cascade(unknown)  # type: ignore[arg-type]
        np.testing.assert_array_equal(cascade(image).mask, expected)


def test_a_stream_begins_images_on_the_gpu_in_the_thread_that_gives_them(
    place: PlannedPlace,
) -> None:
    """Handle 2, the per-thread default stream, is of the thread that asks for the interface."""
    images = [spotted(60 + n, 70) for n in range(12)]
    with place.device.current():
        theirs = place.device.stream()
    mixed = [FakeGpuArray(place.device, i, theirs.handle) if n % 3 else i
             for n, i in enumerate(images)]  # fmt: skip
    with place.cascade() as cascade:
        expected = [cascade(image).mask for image in images]
        for found, mask in zip(cascade.stream(mixed, copy=False), expected, strict=True):
            np.testing.assert_array_equal(found.mask, mask)
    assert place.device.followers == [threading.get_ident()] * 8
    for array in mixed:
        if isinstance(array, FakeGpuArray):
            array.free()
    with place.device.current():
        theirs.close()


def test_tensorrt_decides_in_the_memory_of_the_host(place: PlannedPlace) -> None:
    image, choice = spotted(90, 70), Choice("tensorrt", "fp32", "")
    decision = Decision(threshold=0.05, min_area=20)
    with Cascade.load(place.bundle.path, "onnxruntime", decide=decision) as reference:
        expected = reference(image).mask
    with Cascade(place.bundle, place.engine(), choice, None, decision) as cascade:
        given = FakeGpuArray(place.device, image, None)
        for result in (cascade(image), cascade(given), cascade.submit(image).result()):
            assert expected.any() and np.count_nonzero(result.mask != expected) <= 2
            assert result.refined is None
        out = FakeGpuArray(place.device, np.full_like(image, 9), None)
        with pytest.raises(ImageError, match=r"decides masks in the host's \(decide=\)"):
            cascade(image, out=out)
    given.free()
    out.free()


@pytest.mark.parametrize(("input_type", "channels"), [("uint8", "rgb"), ("uint16", "5")])
def test_colours_from_the_host_and_on_the_gpu(
    input_type: str, channels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "colours.bundle"
    write_threshold_bundle(folder, input_type=input_type, images=channels)
    place = PlannedPlace(folder, tmp_path / "plans", monkeypatch)
    place.build(LARGE)
    count, high = place.bundle.spec.input_channels, np.iinfo(input_type).max
    shape = in_channels(ellipse(90, 70), channels, count - 1)
    image = shape.astype(input_type) * high
    with place.cascade() as cascade:
        given = FakeGpuArray(place.device, image, None)
        out = FakeGpuArray(place.device, np.full((90, 70), 9, np.uint8), None)
        expected = cascade(image).mask
        assert dice(expected, ellipse(90, 70), 1) > 0.97
        for result in (*cascade.batch([image, given, image]), *cascade.stream([given, image])):
            np.testing.assert_array_equal(result.mask, expected)
        cascade(given, out=out)
        np.testing.assert_array_equal(out.on_host(), expected)
        flat = FakeGpuArray(place.device, image[..., 0].copy(), None)
        with pytest.raises(ImageError, match=rf"expected \(H, W, {count}\) {input_type}"):
            cascade(flat)
    for array in (given, out, flat):
        array.free()
    assert place.device.clean
