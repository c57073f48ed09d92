"""Objects drawn by hand: which are found, which are false, and how recall goes by size."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.benchmarks.evaluation.objects import (
    TruthObject,
    components,
    covered_shares,
    false_objects,
    recall_by_size,
)


def test_pixels_that_touch_at_a_corner_are_one_object() -> None:
    truth = np.zeros((8, 8), bool)
    truth[1, 1] = truth[2, 2] = truth[6, 3:6] = True
    found = components(truth)
    assert found.areas == (2, 3)
    assert found.boxes_xyxy == ((1, 1, 3, 3), (3, 6, 6, 7))


def test_an_object_is_found_from_half_of_its_pixels() -> None:
    truth = np.zeros((10, 10), bool)
    truth[1, 0:4] = truth[4, 0:4] = truth[7, 0:4] = True
    mask = np.zeros((10, 10), bool)
    mask[1, 0:2] = mask[4, 0:1] = True
    shares = covered_shares(components(truth), mask)
    assert shares == [0.5, 0.25, 0.0]
    found = [TruthObject("a", 1, "m", 1, 4, (0, 1, 4, 2), share).found for share in shares]
    assert found == [True, False, False]


def test_false_objects_touch_no_truth() -> None:
    truth = np.zeros((10, 10), bool)
    truth[2:4, 2:4] = True
    mask = np.zeros((10, 10), bool)
    mask[3, 3:8] = mask[6, 6] = mask[9, 0:3] = True
    assert false_objects(mask, truth) == 2
    assert false_objects(truth, truth) == 0
    assert false_objects(mask, np.zeros_like(truth)) == 3


def test_recall_goes_by_the_quartiles_of_area() -> None:
    areas = [1, 2, 3, 4, 5, 6, 7, 8]
    objects = [
        TruthObject("a", 1, method, n, area, (0, 0, 1, 1), float(area > limit))
        for method, limit in (("one", 4), ("two", 0))
        for n, area in enumerate(areas)
    ]
    bins = recall_by_size(objects, ("one", "two"))
    ours = [(it.smallest, it.largest, it.objects, it.recall) for it in bins if it.method == "one"]
    assert ours == [(1, 2, 2, 0.0), (3, 4, 2, 0.0), (5, 6, 2, 1.0), (7, 8, 2, 1.0)]
    assert [item.recall for item in bins if item.method == "two"] == [1.0] * 4


@pytest.mark.parametrize(("areas", "bins"), [([], 0), ([5], 1), ([5, 5, 5, 5, 9], 2)])
def test_few_or_equal_objects_fill_fewer_bins(areas: list[int], bins: int) -> None:
    objects = [TruthObject("a", 1, "m", n, a, (0, 0, 1, 1), 1.0) for n, a in enumerate(areas)]
    found = recall_by_size(objects, ("m",))
    assert len(found) == bins and sum(item.objects for item in found) == len(areas)
