"""Box and mask threshold follow the Dice that they give, and only where it is clearly more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from foveate.runtime.spec import Size
from foveate.train.boxes import Candidate
from foveate.train.cascade import TorchCascade
from foveate.train.decision import BOXES, Decision, best_decision, front, measure_decisions
from foveate.train.full_images import FullImages
from tests.drawing import threshold_spec


class OneImage(FullImages):
    """A bright square and a dim one on black; both are the truth."""

    def __init__(self) -> None:
        self.image = np.full((128, 256), 20, np.uint8)
        self.image[40:80, 20:60] = 220
        self.image[40:80, 190:230] = 130

    def get(self, stem: str) -> tuple[np.ndarray, np.ndarray]:
        return self.image, (self.image > 100).astype(np.uint8)


def linear(inputs: int, gain: float, bias: float) -> nn.Conv2d:
    network = nn.Conv2d(inputs, 1, 1)
    nn.init.zeros_(network.weight)
    with torch.no_grad():
        network.weight[0, 0] = gain
    nn.init.constant_(torch.nn.Parameter(network.bias), bias)  # type: ignore[arg-type]
    return network.eval()


def cascade() -> TorchCascade:
    """Return one whose stage 1 is sure of the bright square only, and whose stage 2 is too shy.

    Stage 1 gives 0.92 for the bright square, 0.5 for the dim one. Stage 2 gives the dim one 0.46.
    """
    small = Size(32, 64)
    spec = replace(threshold_spec(), stage1=small, stage2=small)
    region = replace(spec.region, threshold=0.8, margin=0.0, min_height=32, min_width=64)
    stage1, stage2 = linear(1, 7.0, -3.57), linear(2, 20.0, -10.35)
    return TorchCascade(replace(spec, region=region), stage1, stage2).eval()


def test_the_box_grows_and_the_threshold_falls_where_dice_says_so() -> None:
    boxes = [Candidate(0.8, 0.0, 2, 0.5, 0.2), Candidate(0.3, 0.0, 2, 0.0, 0.8)]
    table = measure_decisions(cascade(), OneImage(), ["a"], boxes)
    assert table[0].threshold == 0.8 and table[0].mask_threshold == 0.5 and table[0].dice < 0.7
    best = best_decision(table)
    assert best.dice > 0.9 and best.threshold == 0.3 and best.mask_threshold < 0.46
    spec = best.applied(cascade().spec)
    assert (spec.region.threshold, spec.mask_threshold) == (0.3, best.mask_threshold)
    spec.check()


def test_nothing_changes_for_little() -> None:
    rows = [Decision(0.5, 0.1, 2, 64, 64, value, 0.9 + gain) for value, gain in
            ((0.5, 0.0), (0.4, 0.002), (0.6, 0.0025))]  # fmt: skip
    assert best_decision(rows) == rows[0]
    assert best_decision([*rows, replace(rows[0], margin=0.2, dice=0.95)]).margin == 0.2


def test_the_front_has_no_box_that_a_smaller_one_beats() -> None:
    rng = np.random.default_rng(0)
    boxes = [Candidate(0.5, 0.1, 2, missed, area) for missed, area in rng.random((400, 2))]
    kept = front(boxes)
    assert 2 <= len(kept) <= BOXES
    assert kept[0].missed == min(row.missed for row in boxes)
    for row in kept:
        assert not any(other.area < row.area and other.missed < row.missed for other in boxes)
