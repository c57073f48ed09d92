"""The public face: shapes, mixed sizes, streams, threads, types, and wrong input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from foveate.runtime import Cascade
from foveate.runtime.arrays import as_input_type
from foveate.runtime.errors import ImageError

SIZES = [(64, 64), (40, 90), (64, 64), (1, 30), (130, 7), (40, 90)]


@pytest.fixture(scope="module")
def cascade(bundle: Path) -> Cascade:
    return Cascade.load(bundle, threads=1)


@pytest.fixture(scope="module")
def images() -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size).astype(np.uint8) for size in SIZES]


def test_a_result_is_as_large_as_its_image(cascade: Cascade) -> None:
    result = cascade(np.zeros((50, 70), np.uint8), probabilities=True)
    assert result.mask.shape == (50, 70) and result.mask.dtype == np.uint8
    assert result.box_xyxy.shape == (1, 4) and result.box_xyxy.dtype == np.float32
    assert isinstance(result.score, float) and 0 <= result.score <= 1
    assert result.coarse is not None and result.coarse.shape == (1, 64, 64)
    assert result.refined is not None and result.refined.shape == (1, 64, 64)
    assert cascade(np.zeros((50, 70), np.uint8)).coarse is None


def test_a_batch_of_mixed_sizes_gives_what_single_calls_give(
    cascade: Cascade, images: list[npt.NDArray[np.uint8]]
) -> None:
    together = cascade.batch(images, probabilities=True)
    for image, result in zip(images, together, strict=True):
        alone = cascade(image, probabilities=True)
        np.testing.assert_array_equal(result.box_xyxy, alone.box_xyxy)
        assert np.count_nonzero(result.mask != alone.mask) <= 0.001 * max(1, alone.mask.sum())
        np.testing.assert_allclose(result.refined, alone.refined, atol=1e-4)  # type: ignore[arg-type]


def test_a_stream_is_in_order_and_lazy(
    cascade: Cascade, images: list[npt.NDArray[np.uint8]]
) -> None:
    taken = []

    def source():  # type: ignore[no-untyped-def]
        for index, image in enumerate(images):
            taken.append(index)
            yield image

    stream = cascade.stream(source())
    first = next(stream)
    assert first.mask.shape == images[0].shape and len(taken) <= 3
    rest = list(stream)
    assert [result.mask.shape for result in (first, *rest)] == SIZES


def test_a_stream_passes_an_error_on(cascade: Cascade) -> None:
    stream = cascade.stream([np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)])  # type: ignore[list-item]
    assert next(stream).mask.shape == (4, 4)
    with pytest.raises(ImageError, match="float32"):
        next(stream)


def test_a_source_that_fails_loses_none_of_the_results_before(cascade: Cascade) -> None:
    def source() -> Iterator[npt.NDArray[np.uint8]]:
        yield from [np.zeros((4, 4), np.uint8), np.zeros((5, 5), np.uint8)]
        raise OSError("the camera is gone")

    shapes = []
    with pytest.raises(OSError, match="the camera is gone"):
        for result in cascade.stream(source()):
            shapes.append(result.mask.shape)
    assert shapes == [(4, 4), (5, 5)]


def test_the_two_types_are_converted_by_the_rule() -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    wide = as_input_type(grey, "uint16")
    assert wide.dtype == np.uint16 and wide[0, 255] == 65535 and wide[0, 1] == 257
    np.testing.assert_array_equal(as_input_type(wide, "uint8"), grey)
    near = np.array([[128, 129, 65535, 256]], np.uint16)
    assert as_input_type(near, "uint8").tolist() == [[0, 1, 255, 1]]


def test_an_8_bit_image_and_its_16_bit_twin_give_one_mask(
    cascade: Cascade, images: list[npt.NDArray[np.uint8]]
) -> None:
    for image in images:
        twin = image.astype(np.uint16) * 257
        np.testing.assert_array_equal(cascade(image).mask, cascade(twin).mask)
