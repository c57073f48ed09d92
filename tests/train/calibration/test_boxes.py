"""How the box is drawn is chosen on validation images: truth first, then a small box."""

from __future__ import annotations

import numpy as np
import torch

from foveate.runtime.spec import Region, Size
from foveate.train.calibration.boxes import (
    MARGINS,
    OPENINGS,
    THRESHOLDS,
    Candidate,
    choose_box,
    measure_boxes,
)
from foveate.train.data.views import WholeView

SIZE = Size(32, 32)
REGION = Region(min_height=32, min_width=32)


def scene() -> tuple[torch.Tensor, WholeView]:
    """Return stage 1's answer and the view: a target of 0.3, and a false patch of 4 x 4 cells."""
    shares = np.zeros((1, 64, 64), np.uint8)
    shares[0, 10:26, 10:26] = 255
    coarse = torch.zeros(64, 64)
    coarse[10:26, 10:26] = 0.3
    coarse[56:60, 56:60] = 0.9
    return coarse, WholeView(np.zeros((64, 64), np.float16), shares, 512, 512)


def test_the_choice_keeps_the_truth_and_drops_the_false_patch() -> None:
    coarse, view = scene()
    table = measure_boxes({"a": coarse}, {"a": view}, REGION, SIZE)
    assert len(table) == len(THRESHOLDS) * len(MARGINS) * len(OPENINGS)
    best = choose_box(table)
    assert best.threshold < 0.3 and best.opening > 4 and best.missed == 0
    assert best.area < 0.12
    careless = [row for row in table if row.opening == 2 and row.threshold == 0.5]
    assert min(row.missed for row in careless) == 1  # only the false patch is in the box
    wide = [row for row in table if row.opening == 2 and row.threshold < 0.3]
    assert min(row.area for row in wide) > 0.6


def test_a_margin_that_was_set_is_kept() -> None:
    coarse, view = scene()
    table = measure_boxes({"a": coarse}, {"a": view}, REGION, SIZE, (0.4,))
    assert {row.margin for row in table} == {0.4}


def test_of_boxes_that_cost_the_same_the_safest_is_taken() -> None:
    tight, safe = Candidate(0.5, 0.05, 2, 0.001, 0.1), Candidate(0.2, 0.15, 2, 0.0, 0.115)
    dear = Candidate(0.03, 0.25, 2, 0.0, 0.9)
    assert choose_box([tight, safe, dear]) == safe
