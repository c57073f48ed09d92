"""Hints are as wrong in training as they will be on new images, and true on validation images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.hints import STRENGTHS, VARIANTS, Asked, disturb, measure_strengths, regions
from foveate.train.views import WholeView
from tests.drawing import ellipse

SIDE = 64
SHAPE = ellipse(SIDE, SIDE)


def perfect(stem: str) -> tuple[Tensor, Tensor]:
    """Return a view that is 1 inside the shape and -1 outside, and the shape."""
    target = torch.from_numpy(SHAPE.astype(np.float32))[None]
    return target * 2 - 1, target


def sign(view: Tensor) -> Tensor:
    """Stage 1 that decides by the sign of every pixel: right until it is disturbed."""
    return view * 10


def test_no_strength_changes_nothing() -> None:
    view = perfect("a")[0]
    assert torch.equal(disturb(view, 0.0, np.random.default_rng(0)), view)
    changed = disturb(view, 1.0, np.random.default_rng(0))
    assert 0.3 < float((changed - view).std()) < 3


def test_the_search_stops_where_stage_1_is_as_wrong_as_wanted() -> None:
    trials = measure_strengths(sign, perfect, ["a", "b"], wanted=0.9, seed=0)
    assert trials[0].strength == 0 and trials[0].dice == 1
    assert trials[-1].dice <= 0.9 < trials[-2].dice
    assert [trial.strength for trial in trials] == list(STRENGTHS[: len(trials)])


def test_nothing_is_disturbed_when_stage_1_is_no_better_on_training_images() -> None:
    trials = measure_strengths(sign, perfect, ["a"], wanted=1.0, seed=0)
    assert [trial.strength for trial in trials] == [0.0]


def test_training_stems_get_disturbed_answers_and_validation_stems_the_true_one() -> None:
    shares = (SHAPE * 255)[None]
    view = WholeView(SHAPE.astype(np.float16), shares, 256, 256)
    asked = Asked(sign, perfect, {"a": view, "b": view}, 1.0, seed=0)
    found = regions(asked, ["a"], ["b"], Region(min_height=32, min_width=32), Size(32, 32))
    assert len(found.foreground["a"]) == VARIANTS and len(found.foreground["b"]) == 1
    assert np.array_equal(found.foreground["b"][0] > 0.5, SHAPE > 0)
    wrong = [float(((answer > 0.5) != (SHAPE > 0)).mean()) for answer in found.foreground["a"]]
    assert min(wrong) > 0.01 and len(set(wrong)) == VARIANTS
    assert found.predicted["b"] == [found.true["b"]]
