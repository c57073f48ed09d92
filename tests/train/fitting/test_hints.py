"""What stage 2 is told comes from networks that have not seen the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.data.views import WholeView
from foveate.train.fitting.hints import answers, evenly, regions
from foveate.train.fitting.steps import Task
from foveate.train.fitting.trainer import Trainer
from foveate.train.runs.run import read_run
from tests.conftest import train
from tests.drawing import ellipse

SIDE = 64
SHAPE = ellipse(SIDE, SIDE)


def view_of(stem: str) -> tuple[Tensor, Tensor]:
    """Return a view that is 1 inside the shape and -1 outside, and the shape."""
    target = torch.from_numpy(SHAPE.astype(np.float32))[None]
    return target * 2 - 1, target


def sign(view: Tensor) -> Tensor:
    """Stage 1 that decides by the sign of every pixel."""
    return view * 10


def test_a_mirrored_answer_lies_where_the_image_has_it() -> None:
    found = answers(sign, view_of, ["a"], mirrored=True)["a"]
    assert len(found) == 2
    for answer in found:
        assert np.array_equal(answer > 0.5, SHAPE > 0)


def test_hints_and_boxes_of_every_stem() -> None:
    view = WholeView(SHAPE.astype(np.float16), (SHAPE * 255)[None], 256, 256)
    found = answers(sign, view_of, ["a", "b"], mirrored=False)
    made = regions(found, {"a": view, "b": view}, Region(min_height=32, min_width=32), Size(32, 32))
    assert np.array_equal(made.foreground["b"][0] > 0.5, SHAPE > 0)
    assert made.predicted["b"] == [made.true["b"]]


@pytest.mark.usefixtures("short_epochs")
def test_no_network_answers_an_image_that_it_was_trained_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}
    original = Trainer.fit

    def noted(self: Trainer, task: Task, network: torch.nn.Module) -> None:
        seen[task.name] = set(task.views.source.stems)  # type: ignore[attr-defined]
        original(self, task, network)

    monkeypatch.setattr(Trainer, "fit", noted)
    result = train(data, tmp_path / "r", "--set", "num_epochs=1", "--set", "hint_folds=2")
    assert result.exception is None, result.exception
    record = read_run(tmp_path / "r")
    training, stages = set(record["data"]["training"]), record["stages"]
    held_out = [set(stages[name]["held_out"]) for name in ("fold1", "fold2")]
    assert held_out[0] | held_out[1] == training and not held_out[0] & held_out[1]
    for name, stems in zip(("fold1", "fold2"), held_out, strict=True):
        assert seen[name] == training - stems
    assert seen["stage1"] == seen["stage2"] == training
    assert "Dice" in result.output and 0 <= stages["stage2"]["hints"]["dice"] <= 1


def test_evenly_spreads_over_all() -> None:
    stems = [str(index) for index in range(200)]
    assert evenly(stems)[0] == "0" and 48 <= len(evenly(stems)) <= 96
    assert evenly(stems[:5]) == stems[:5]
