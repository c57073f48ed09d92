"""Killed at its worst moments and resumed, a training ends with the weights of one left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from foveate.train.runs.run import read_run
from tests.conftest import TINY

SETTINGS = [*TINY, "num_epochs=2", "batch_size=2", "hint_folds=2", "horizontal_flip=0"]
MOMENTS = ("Stage 1 Epoch [1/2]", "Fold 2 of 2 Epoch [1/1]", "Stage 2 Epoch [1/2]", "Choosing box")


def start(data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    settings = [item for value in SETTINGS for item in ("--set", value)]
    command = [sys.executable, "-m", "foveate", "train", str(data), "--out", str(out)]
    return subprocess.Popen(
        [*command, *settings, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


def kill_at(process: subprocess.Popen[str], moment: str) -> None:
    """Kill a training with SIGKILL at the first line that holds the words."""
    lines = []
    with process:
        for line in process.stdout or []:
            lines.append(line)
            if moment in line:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "".join(lines)


def test_a_killed_training_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(data, whole)
    kill_at(start(data, killed), MOMENTS[0])
    for moment in MOMENTS[1:]:
        kill_at(start(data, killed, "--resume"), moment)
    last = start(data, killed, "--resume")
    for process in (undisturbed, last):
        output, _ = process.communicate()
        assert process.returncode == 0, output
    for name in ("stage1.safetensors", "stage2.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    records = [read_run(folder) for folder in (whole, killed)]
    assert records[0]["spec"] == records[1]["spec"]
    for name, stage in records[0]["stages"].items():
        other = records[1]["stages"][name]
        for row in (*stage["curve"], *other["curve"]):
            del row["seconds"]
        assert other == stage
