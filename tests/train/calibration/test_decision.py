"""Box and mask threshold follow the Dice that they give, and only where it is clearly more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from foveate.runtime.spec import Size
from foveate.train.calibration.boxes import Candidate
from foveate.train.calibration.choosing import LEAST, Choosing
from foveate.train.calibration.decision import (
    BOXES,
    MASK_THRESHOLDS,
    Decision,
    best_decision,
    front,
    measure_boxes_by_dice,
    measure_thresholds,
)
from foveate.train.calibration.image_dice import class_dice
from foveate.train.data.augment import augmentation
from foveate.train.data.dataset import load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.views import RegionCrops, ViewSource, whole_item, whole_views
from foveate.train.fitting.hints import answers, regions
from foveate.train.reference.cascade import TorchCascade
from foveate.train.settings.settings import Settings
from tests.drawing import threshold_spec


@pytest.fixture
def full(tmp_path: Path) -> FullImages:
    """A bright square and a dim one on black; both are the truth."""
    image = np.full((128, 256), 20, np.uint8)
    image[40:80, 20:60] = 220
    image[40:80, 190:230] = 130
    for folder, pixels in (("images", image), ("masks", (image > 100).astype(np.uint8) * 255)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), pixels)
    return FullImages(load_dataset(tmp_path))


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


def crops_of(full: FullImages, cascade: TorchCascade) -> RegionCrops:
    """Return the views of stage 2 with what stage 1 answers."""
    spec = cascade.spec
    assert spec.stage2 is not None
    views = whole_views(full, ["a"], spec.stage1, lambda done, total: None)
    with torch.no_grad():
        found = answers(cascade.stage1, lambda stem: whole_item(views[stem], spec), ["a"], False)
    made = regions(found, views, spec.region, spec.stage2)
    return RegionCrops(ViewSource(full, views, ["a"], spec, augmentation(Settings()), 0), made)


def test_the_box_grows_and_the_threshold_falls_where_dice_says_so(full: FullImages) -> None:
    boxes = [Candidate(0.8, 0.0, 2, 0.5, 0.2), Candidate(0.3, 0.0, 2, 0.0, 0.8)]
    start = cascade()
    table = measure_boxes_by_dice(start, crops_of(full, start), ["a"], boxes)
    assert table[0].threshold == 0.8 and table[0].mask_threshold == 0.5 and table[0].dice < 0.7
    best = best_decision(table)
    assert best.dice > 0.9 and best.threshold == 0.3 and best.mask_threshold < 0.46
    assert best.images == 1
    spec = best.applied(start.spec)
    assert (spec.region.threshold, spec.mask_threshold) == (0.3, best.mask_threshold)
    spec.check()
    mask, _ = TorchCascade(spec, start.stage1, start.stage2).segment(full.get("a")[0])
    assert class_dice(mask, full.get("a")[1], 1)[0] == pytest.approx(best.dice, abs=0.005)


def test_the_threshold_of_one_network_falls_where_dice_says_so(full: FullImages) -> None:
    spec = replace(threshold_spec(), stage2=None, pad_multiple=16)
    spec = replace(spec, region=replace(spec.region, mode="none"))
    network = TorchCascade(spec, linear(1, 20.0, -10.35), None).eval()
    best = best_decision(measure_thresholds(network, full, ["a"]))
    assert best.dice == 1 and best.mask_threshold < 0.46


def test_no_further_box_is_tried_when_the_time_is_up(full: FullImages) -> None:
    boxes = [Candidate(0.8, 0.0, 2, 0.5, 0.2), Candidate(0.3, 0.0, 2, 0.0, 0.8)]
    start, shown = cascade(), list[int]()
    late = Choosing(progress=lambda text, done, total: shown.append(done), until=0.0)
    table = measure_boxes_by_dice(start, crops_of(full, start), ["a"] * 20, boxes, late)
    assert {row.threshold for row in table} == {0.8} and len(table) == len(MASK_THRESHOLDS)
    assert {row.images for row in table} == {LEAST} and shown == list(range(1, LEAST + 1))


def test_dice_of_a_part_counts_the_truth_outside() -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[:, :4], truth[:, 6:] = 1, 2
    part = np.ones((8, 2), np.uint8)
    place = (slice(None), slice(0, 2))
    assert class_dice(part, truth, 3, place)[:2] == [2 * 16 / (16 + 32), 0.0]
    assert np.isnan(class_dice(part, truth, 3, place)[2])


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
