"""Two processes of torchrun train one run together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foveate.runtime.errors import SettingsError
from foveate.train.fitting.distributed import join
from foveate.train.runs.run import load_run, read_run
from tests.conftest import TINY


def test_two_processes_train_one_run(data: Path, tmp_path: Path) -> None:
    settings = [*TINY, "num_epochs=2", "hint_folds=0", "batch_size=4"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "foveate", "train", str(data), "--out", str(tmp_path / "r"),
         *(item for value in settings for item in ("--set", value))],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("Stage 2 Epoch [2/2]") == 1
    curve = read_run(tmp_path / "r")["stages"]["stage1"]["curve"]
    assert len(curve) == 2 and curve[1]["loss"] < curve[0]["loss"]
    assert load_run(tmp_path / "r")[0].stage2 is not None


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SettingsError, match="batch_size is 8; expected a multiple of the 3 proc"):
        join("cpu", 8)
