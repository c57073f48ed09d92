"""Objects of a mask: pieces of each class, cut at their necks where that is asked for."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from foveate.runtime.objects.labels import label_objects


@pytest.mark.parametrize("seed", range(10))
def test_objects_are_the_8_connected_pieces_of_each_class(seed: int) -> None:
    mask = np.random.default_rng(seed).choice(4, (60, 80), p=[0.5, 0.3, 0.2, 0]).astype(np.uint8)
    mask[30:, 40:][mask[30:, 40:] == 2] = 3
    objects = label_objects(mask)
    total = 0
    for label in (1, 2, 3):
        pieces, count = ndimage.label(mask == label, np.ones((3, 3)))
        inside = pieces > 0
        pairs = np.unique(np.stack([pieces[inside], objects.numbers[inside]]), axis=1)
        assert pairs.shape[1] == count  # one number for each piece
        assert sorted(pairs[1]) == list(range(total + 1, total + count + 1))
        total += count
        assert objects.counts("abcd")["abcd"[label]] == count
    assert not objects.numbers[mask == 0].any()


def test_classes_that_touch_are_objects_of_their_own() -> None:
    mask = np.array([[1, 1, 2, 1], [1, 2, 2, 1]], np.uint8)
    objects = label_objects(mask)
    assert objects.numbers.tolist() == [[1, 1, 3, 2], [1, 3, 3, 2]]
    assert objects.classes.tolist() == [1, 1, 2]
    assert label_objects(mask, split=True).classes.tolist() == [1, 1, 2]


@pytest.mark.parametrize("split", [False, True])
def test_an_empty_mask_has_no_objects(split: bool) -> None:
    objects = label_objects(np.zeros((5, 7), np.uint8), split)
    assert not objects.numbers.any() and objects.counts(["background", "a"]) == {"a": 0}


def discs(*places: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return a mask of discs, each (x, y, radius)."""
    mask = np.zeros((120, 200), np.uint8)
    for x, y, radius in places:
        cv2.circle(mask, (x, y), radius, 1, -1)
    return mask


def test_discs_that_touch_are_split_at_the_neck() -> None:
    mask = discs((50, 60, 20), (86, 60, 20), (112, 60, 9))
    assert len(label_objects(mask).classes) == 1
    objects = label_objects(mask, split=True)
    assert len(objects.classes) == 3 and ((objects.numbers > 0) == (mask > 0)).all()
    sizes = sorted(np.bincount(objects.numbers.ravel())[1:])
    single = [int(discs((50, 60, radius)).sum()) for radius in (9, 20, 20)]
    np.testing.assert_allclose(sizes, single, rtol=0.1)


@pytest.mark.parametrize("thickness", range(1, 8))
def test_one_object_stays_whole(thickness: int) -> None:
    mask = np.zeros((120, 200), np.uint8)
    cv2.ellipse(mask, (45, 60), (36, 12 + thickness), 31, 0, 360, 1, -1)
    cv2.ellipse(mask, (140, 60), (45, 50), 0, 90, 250, 1, thickness)
    assert len(label_objects(mask, split=True).classes) == len(label_objects(mask).classes)
