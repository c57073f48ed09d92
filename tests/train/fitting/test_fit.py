"""Training: it learns, it keeps what it promises, it resumes, and it refuses by name."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveate.runtime.cli import progress
from foveate.runtime.errors import BundleError, DataError, FoveateError, SettingsError
from foveate.train.data.dataset import load_dataset
from foveate.train.fitting.distributed import Processes
from foveate.train.fitting.schedule import Clock, shares
from foveate.train.fitting.trainer import Trainer
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.run import load_run, read_run
from foveate.train.settings.settings import Settings
from tests.conftest import run, train
from tests.train.data.test_dataset import make


def test_a_run_says_what_made_it(trained: Path, data: Path) -> None:
    record = read_run(trained)
    listed = (data / "train.txt").read_text().split()
    split = record["data"]["training"] + record["data"]["validation"]
    assert sorted(split) == sorted(listed)
    assert record["settings"]["width"] == 4 and record["spec"]["classes"] == [
        "background",
        "lesion",
    ]
    for name in ("stage1", "stage2"):
        curve = record["stages"][name]["curve"]
        assert [row["epoch"] for row in curve] == [1, 2, 3]
        assert curve[-1]["loss"] < curve[0]["loss"]
    assert set(record["versions"]) >= {"foveate", "torch", "numpy", "python"}
    left = {path.name for path in trained.glob("*.safetensors")}
    assert left == {"stage1.safetensors", "stage2.safetensors"}


@pytest.mark.usefixtures("short_epochs")
def test_the_log_line_is_the_one_people_know(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "r", "--stages", "single", "--set", "num_epochs=1")
    assert result.exception is None, result.exception
    line = next(line for line in result.output.splitlines() if "Epoch" in line)
    assert "Epoch [1/1], Loss: " in line and ", Dice: " in line and "Best model saved." in line
    assert read_run(tmp_path / "r")["spec"]["stage2"] is None


def test_one_image_pattern_is_learnt(tmp_path: Path) -> None:
    """A bright square on dark: after a few epochs stage 1 finds it."""
    root = tmp_path / "d"
    make(root, (0, 255), count=8, size=64)
    import cv2

    rng = np.random.default_rng(1)
    for index in range(8):
        y, x = rng.integers(4, 36, 2)
        mask = np.zeros((64, 64), np.uint8)
        mask[y : y + 22, x : x + 22] = 255
        image = np.clip(mask * 0.5 + 40 + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"i{index}.png"), image)
        cv2.imwrite(str(root / "masks" / f"i{index}.png"), mask)
    result = train(root, tmp_path / "r", "--stages", "1", "--set", "num_epochs=4")
    assert result.exception is None, result.exception
    curve = read_run(tmp_path / "r")["stages"]["stage1"]["curve"]
    assert max(row["dice"] for row in curve) > 0.9


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(
    ("stages", "setting"),
    [
        ("both", "region_mode=box"),
        ("single", "single_input=full"),
        pytest.param("both", "region_mode=tiles", marks=pytest.mark.slow),
    ],
)
def test_a_training_does_not_see_what_is_not_labelled(
    data: Path, tmp_path: Path, stages: str, setting: str
) -> None:
    """Whatever stands for it; where that is background the weights are others."""
    found = []
    for value in (255, 77, 0):
        root, out = tmp_path / f"d{value}", tmp_path / f"r{value}"
        shutil.copytree(data, root)
        for path in (root / "masks").iterdir():
            mask = np.asarray(Image.open(path).convert("L")) // 255
            mask[:, 70:] = value
            Image.fromarray(mask).save(path)
        given = [setting, "hint_folds=0", *([f"ignore_value={value}"] if value else [])]
        options = [part for item in given for part in ("--set", item)]
        result = train(root, out, "--num-epochs", "1", "--stages", stages, *options)
        assert result.exception is None, result.exception
        record = read_run(out)
        weights = {name: stage["sha256"] for name, stage in record["stages"].items()}
        found.append((weights, record["spec"], record["stages"]["stage1"]["curve"][0]["loss"]))
    resumed = run("train", tmp_path / "d77", "--out", tmp_path / "r77", "--resume")
    assert resumed.exception is None, resumed.exception  # masks are read by the run's settings
    assert found[0] == found[1]
    assert found[0][0].items().isdisjoint(found[2][0].items())


def test_resuming_with_other_settings_or_data_is_refused(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    result = train(data, trained, "--resume", "--set", "num_epochs=9")
    assert isinstance(result.exception, SettingsError)
    assert "num_epochs 3 -> 9" in str(result.exception)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    (copy / "train.txt").write_text("\n".join((data / "train.txt").read_text().split()[:-1]))
    settings = ["--set", "num_epochs=3", "--set", "class_names=lesion"]
    result = train(copy, trained, "--resume", *settings)
    assert isinstance(result.exception, DataError) and "fingerprint" in str(result.exception)


@pytest.mark.usefixtures("short_epochs")
def test_stage_2_can_be_added_later(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    assert train(data, folder, "--stages", "1", "--set", "num_epochs=1").exception is None
    with pytest.raises(BundleError, match="stage2 has not been trained"):
        load_run(folder)
    assert train(data, folder, "--stages", "2", "--set", "num_epochs=1").exception is None
    assert load_run(folder)[0].stage2 is not None


def test_no_data_is_named(tmp_path: Path) -> None:
    result = run("train", "--out", tmp_path / "r")
    assert isinstance(result.exception, DataError) and "no data set" in str(result.exception)


def test_changed_weights_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "weights"))
    data = bytearray((folder / "stage2.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "stage2.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match=r"stage2\.safetensors: missing, or not the file"):
        load_run(folder)


@pytest.mark.usefixtures("short_epochs")
def test_a_run_stopped_before_its_first_epoch_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveate.train.fitting import steps

    def stop(*arguments: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps.Steps, "epoch", stop)
        assert train(data, tmp_path / "r", "--set", "num_epochs=1").exception is not None
    again = train(data, tmp_path / "r", "--set", "num_epochs=1")
    assert isinstance(again.exception, FoveateError) and "add --resume" in str(again.exception)
    result = train(data, tmp_path / "r", "--set", "num_epochs=1", "--resume")
    assert result.exception is None, result.exception
    assert read_run(tmp_path / "r")["stages"]["stage2"]["done"]


def test_the_time_of_each_network_goes_by_its_pixels() -> None:
    settings = Settings(image_height=64, image_width=128, crop_height=128, crop_width=128)
    whole = shares(settings, "both")
    assert list(whole) == ["stage1", "fold1", "fold2", "fold3", "stage2"]
    assert sum(whole.values()) == pytest.approx(0.95)  # the rest is for the choice of the box
    assert whole["stage2"] == pytest.approx(2 * whole["stage1"])
    assert whole["fold1"] == pytest.approx(whole["stage1"] / 2)
    assert shares(settings, "single") == {"stage1": pytest.approx(0.95)}
    assert "stage1" not in shares(settings, "2")


@pytest.mark.usefixtures("short_epochs")
def test_what_each_part_gets_of_the_time_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_S", 1e-9)
    words = ("--max-minutes", "0.05", "--threads", "1", "--set", "val_fraction=0.3")
    said = train(data, tmp_path / "r", *words)
    assert said.exception is None, said.exception
    for label in ("measuring the targets", "Hint network 2 of 2 epoch 1", "Stage 2 validation"):
        assert f"\n{label} " in said.stderr
    assert re.search(r"^choosing \d+/\d+", said.stderr, re.M)
    plan = next(line for line in said.output.splitlines() if line.startswith("Of 0.05 min: so far"))
    assert re.search(r"stage 1 0\.\d, hint networks 2 x 0\.\d, stage 2 0\.\d, choosing 0\.0", plan)
    assert re.search(
        r"Stage 1 Epoch 1, [\d.]+ of 0\.\d min, Loss: .* ETA of the run 0\.", said.output
    )


def test_the_time_left_is_that_of_the_run(data: Path, tmp_path: Path) -> None:
    """A third of stage 1 took ten seconds; the others and the choice take their shares."""
    settings = Settings(hint_folds=2, num_epochs=3)
    job = TrainingJob(load_dataset(data), settings, tmp_path)
    trainer = Trainer(job, {"stages": {}}, Processes(0, 1, torch.device("cpu")))
    clock = Clock(time.monotonic() - 10, 0, 3, 1)
    expected = 30 * (1 + 0.5 + 0.5 + 1) / 0.95 - 10
    assert trainer.eta("stage1", clock, 1) == pytest.approx(expected, rel=0.01)
