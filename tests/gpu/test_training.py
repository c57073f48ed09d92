"""Training on a GPU: 16 bits, compiled, on one process and on two, with masks like the CPU's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, train

pytestmark = pytest.mark.gpu
SETTINGS = ("device=cuda", "num_epochs=6", "hint_folds=2")


@pytest.fixture(autouse=True)
def _needs() -> None:
    """A machine that only runs bundles has not what training needs."""
    for name in ("albumentations", "tomli_w", "safetensors", "threadpoolctl", "surface_distance"):
        pytest.importorskip(name)


def test_a_training_on_a_gpu_learns(data: Path, tmp_path: Path) -> None:
    from foveate.train.fitting.steps import half_type
    from foveate.train.runs.run import load_run, read_run

    assert half_type(torch.device("cuda")) in (torch.bfloat16, torch.float16)
    settings = [item for value in SETTINGS for item in ("--set", value)]
    result = train(data, tmp_path / "r", *settings)
    assert result.exception is None, result.exception
    for name in ("stage1", "stage2"):
        curve = read_run(tmp_path / "r")["stages"][name]["curve"]
        assert curve[-1]["loss"] < curve[0]["loss"]
    cascade, _ = load_run(tmp_path / "r")
    assert cascade(torch.zeros(1, 160, 160)).mask.shape == (1, 160, 160)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_one_run(data: Path, tmp_path: Path) -> None:
    from foveate.train.runs.run import load_run

    settings = [item for value in (*TINY, *SETTINGS) for item in ("--set", value)]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "foveate", "train", str(data), "--out", str(tmp_path / "r"), *settings],
        check=True,
    )  # fmt: skip
    assert load_run(tmp_path / "r")[0].stage2 is not None
