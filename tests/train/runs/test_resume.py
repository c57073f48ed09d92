"""Killed at its worst moments and resumed, a training ends with the weights of one left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.train.runs.run import read_run
from tests.conftest import train
from tests.train.forked import kill_at

SETTINGS = ("--set", "num_epochs=2", "--set", "batch_size=2", "--set", "horizontal_flip=0")
MOMENTS = (
    "Stage 1 Epoch [1/2]", "Hint network 2 of 2 Epoch [1/1]", "Stage 2 Epoch [1/2]", "Choosing box",
)  # fmt: skip


@pytest.mark.usefixtures("short_epochs")
def test_a_killed_training_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(data, whole, *SETTINGS).exception is None
    kill_at(MOMENTS[0], lambda: train(data, killed, *SETTINGS))
    for moment in MOMENTS[1:]:
        kill_at(moment, lambda: train(data, killed, *SETTINGS, "--resume"))
    assert train(data, killed, *SETTINGS, "--resume").exception is None
    for name in ("stage1.safetensors", "stage2.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    records = [read_run(folder) for folder in (whole, killed)]
    assert records[0]["spec"] == records[1]["spec"]
    for name, stage in records[0]["stages"].items():
        other = records[1]["stages"][name]
        for row in (*stage["curve"], *other["curve"]):
            del row["seconds"]
        assert other == stage
