"""The filter, the box and the paste: against another library, and against what must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveate.runtime import geometry as numpy_geometry
from foveate.runtime.spec import Region, Size
from foveate.train.reference import geometry

INTERVALS = [(0, 100, 100, 32), (0, 100, 100, 250), (13, 60, 100, 47), (7, 8, 9, 5), (0, 1, 1, 4)]


@pytest.mark.parametrize(("start", "stop", "size", "count"), INTERVALS)
def test_numpy_and_torch_have_the_same_weights(
    start: int, stop: int, size: int, count: int
) -> None:
    first, last = torch.tensor([float(start)]), torch.tensor([float(stop)])
    for name in ("crop_weights", "paste_weights"):
        ours = getattr(numpy_geometry, name)(start, stop, size, count)
        theirs = getattr(geometry, name)(first, last, size, count)[0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(100, 140), (31, 20), (64, 300)])
def test_the_whole_image_resize_is_torchs_antialiased_bilinear(height: int, width: int) -> None:
    image = torch.rand(1, height, width)
    box = geometry.whole_box(1, height, width)
    ours = geometry.crop_box(image, box, Size(48, 64))
    theirs = functional.interpolate(
        image[None], size=(48, 64), mode="bilinear", antialias=True, align_corners=False
    )[0]
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_a_crop_at_native_size_copies_the_pixels() -> None:
    image = torch.rand(1, 90, 70)
    box = torch.tensor([[5.0, 20.0, 37.0, 84.0]])
    cropped = geometry.crop_box(image, box, Size(64, 32))
    torch.testing.assert_close(cropped[0], image[0, 20:84, 5:37], atol=1e-6, rtol=0)
    pasted = geometry.paste_box(cropped[:, None], box, 90, 70)
    torch.testing.assert_close(pasted[0, 0, 20:84, 5:37], image[0, 20:84, 5:37], atol=1e-6, rtol=0)
    assert float(pasted[0, 0, :20].abs().sum() + pasted[0, 0, :, :5].abs().sum()) == 0


def test_the_windowed_crop_is_the_dense_crop() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65535, (120, 333)).astype(np.uint16)
    box = (40.0, 10.0, 290.0, 101.0)
    rows = numpy_geometry.crop_weights(10, 101, 120, 32)
    columns = numpy_geometry.crop_weights(40, 290, 333, 64)
    dense = rows @ image.astype(np.float32) @ columns.T
    np.testing.assert_allclose(numpy_geometry.crop(image, box, 32, 64), dense, rtol=1e-5, atol=0.05)


REGION = Region("box", 0.3, 0.15, 32, 32)
CROP = Size(64, 64)


def box_of(foreground: torch.Tensor, height: int, width: int) -> list[float]:
    found: list[float] = geometry.find_box(foreground[None], height, width, REGION, CROP)[
        0
    ].tolist()
    return found


@pytest.mark.parametrize("opening", [2, 3, 5, 6])
def test_a_stray_patch_smaller_than_the_opening_moves_nothing(opening: int) -> None:
    region = replace(REGION, opening=opening)
    foreground = torch.zeros(64, 64)
    foreground[20:30, 30:36] = 0.9
    before = geometry.find_box(foreground[None], 640, 640, region, CROP)
    foreground[60 : 60 + opening - 1, 2 : 2 + opening] = 1.0
    foreground[0 : opening - 1, 63] = 1.0
    after = geometry.find_box(foreground[None], 640, 640, region, CROP)
    assert torch.equal(before, after)
    foreground[40 : 40 + opening, 2 : 2 + opening] = 1.0
    assert not torch.equal(geometry.find_box(foreground[None], 640, 640, region, CROP), before)


def test_a_target_of_a_single_cell_is_still_found() -> None:
    foreground = torch.zeros(64, 64)
    foreground[50, 3] = 0.9
    left, top, right, bottom = box_of(foreground, 640, 640)
    assert left <= 30 and right >= 40 and top <= 500 and bottom >= 510
    assert right - left <= 100


def test_nothing_found_is_the_whole_image() -> None:
    assert box_of(torch.full((64, 64), 0.2), 300, 500) == [0, 0, 500, 300]


@pytest.mark.parametrize(("height", "width"), [(640, 640), (33, 2000), (1, 500), (7, 7), (950, 90)])
def test_a_box_is_whole_pixels_inside_the_image_and_holds_the_foreground(
    height: int, width: int
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        y, x = rng.integers(0, 60, 2)
        foreground = torch.zeros(64, 64)
        foreground[y : y + rng.integers(2, 12), x : x + rng.integers(2, 12)] = 0.8
        left, top, right, bottom = box_of(foreground, height, width)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert all(value == int(value) for value in (left, top, right, bottom))
        marked = torch.nonzero(foreground)
        assert top <= float(marked[:, 0].min()) * height / 64 + 1
        assert bottom >= float(marked[:, 0].max() + 1) * height / 64 - 1
        assert left <= float(marked[:, 1].min()) * width / 64 + 1
        assert right >= float(marked[:, 1].max() + 1) * width / 64 - 1


def test_a_small_target_is_seen_at_native_resolution() -> None:
    foreground = torch.zeros(64, 64)
    foreground[10:12, 10:12] = 0.9
    region = Region("box", 0.3, 0.15, 64, 64)
    box = geometry.find_box(foreground[None], 1024, 1024, region, CROP)[0]
    assert float(box[2] - box[0]) == 64 and float(box[3] - box[1]) == 64
