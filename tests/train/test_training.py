"""Training from Python: the same run as from the command line, and what is written next to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from foveate.runtime.errors import DataError, SettingsError
from foveate.train import Settings, load_settings, train
from foveate.train.fitting.trainer import Trainer
from foveate.train.runs.curves import PICTURE, bars, curve_line, too_short
from foveate.train.runs.run import read_run
from tests.conftest import run
from tests.conftest import train as train_by_command

TINY: dict[str, Any] = {
    "image_height": 64, "image_width": 64, "width": 4, "depth": 2, "batch_size": 4,
    "num_workers": 0, "num_epochs": 1, "hint_folds": 2,
}  # fmt: skip


@pytest.mark.usefixtures("short_epochs")
def test_python_and_the_command_line_make_the_same_run(data: Path, tmp_path: Path) -> None:
    made = train(out=tmp_path / "py", stages="single", data_dir=data, **TINY)
    result = train_by_command(data, tmp_path / "cli", "--stages", "single", "--num-epochs", "1")
    assert result.exception is None, result.exception
    record = read_run(tmp_path / "cli")
    assert made.record["settings"] == record["settings"]
    assert made.curve("stage1")[0]["loss"] == record["stages"]["stage1"]["curve"][0]["loss"]
    assert made.best == {"stage1": made.curve("stage1")[0]["dice"]}
    said = f"Run({str(tmp_path / 'py')!r}, single, best Dice: stage1 {made.best['stage1']:.4f})"
    assert repr(made) == said


def test_a_run_keeps_settings_that_make_it_again(trained: Path) -> None:
    again = load_settings(trained / "settings.toml")
    assert again.as_dict() == read_run(trained)["settings"]
    odd = Settings(class_names='é "x"\\\n\t', learning_rate=1e-7)
    from foveate.train.runs.record import write_settings

    write_settings(trained.parent, odd)
    assert load_settings(trained.parent / "settings.toml") == odd


@pytest.mark.parametrize("way", ["python", "settings", "toml"])
def test_an_unknown_key_is_named_in_every_way(way: str, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("num_epoch = 3\n")
    with pytest.raises(SettingsError, match='no setting "num_epoch"; .* "num_epochs"'):
        if way == "python":
            train(out=tmp_path / "r", num_epoch=3)
        elif way == "settings":
            Settings(num_epoch=3)
        else:
            load_settings(config)


def test_values_of_another_type_are_named_in_python() -> None:
    with pytest.raises(SettingsError, match=r"width is 8\.5; expected int"):
        Settings(width=8.5)  # type: ignore[arg-type]
    assert Settings(data_dir=Path("a/b")).data_dir == "a/b"  # type: ignore[arg-type]


def test_options_by_the_notebooks_names_go_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("num_epochs = 3\nimage_height = 100\n")
    result = run("train", tmp_path, "--out", tmp_path / "r", "--config", config)
    assert "image_height is 100" in str(result.exception)
    given = ["--image-height", "64", "--image-dir-name", "none"]
    result = run("train", tmp_path, "--out", tmp_path / "r", "--config", config, *given)
    assert isinstance(result.exception, DataError) and "none is not a folder" in str(
        result.exception
    )


def test_a_run_has_its_curves(trained: Path) -> None:
    picture = cv2.imread(str(trained / PICTURE))
    assert picture is not None and picture.shape == (360, 900, 3)
    blue, orange = (31, 119, 180), (255, 127, 14)
    for colour in (blue, orange):  # both stages are drawn
        assert (abs(picture[:, :, ::-1].astype(int) - colour).sum(axis=2) < 20).sum() > 100


def test_tensorboard_has_every_epoch(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained / "tensorboard"))
    board.Reload()
    for name in ("stage1", "stage2"):
        curve = read_run(trained)["stages"][name]["curve"]
        seen = [(event.step, event.value) for event in board.Scalars(f"{name}/dice")]
        assert seen == [(row["epoch"], pytest.approx(row["dice"])) for row in curve]


@pytest.mark.usefixtures("short_epochs")
def test_without_tensorboard_nothing_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(out=tmp_path / "r", stages="single", **{**TINY, "data_dir": data})
    assert (tmp_path / "r" / PICTURE).exists() and not (tmp_path / "r" / "tensorboard").exists()


def test_the_line_of_a_curve_shows_where_it_was_best() -> None:
    rows = [{"epoch": i + 1, "loss": 1.0 - i / 4, "dice": d} for i, d in enumerate([0, 0.5, 1, 0])]
    line = curve_line("Stage 1", rows)
    assert line == (
        "Stage 1: loss 1.000 █▆▃▁ 0.250, Dice 0.000 ▁▅█▁ 0.000, best 1.0000 in epoch 3 of 4"
    )
    assert len(bars(list(range(1000)))) == 32 and bars([2.0]) == "▁"


def test_a_training_that_was_too_short_is_named() -> None:
    def note(*loss: float, minutes: float = 7.0) -> str:
        stage = {"curve": [{"loss": value} for value in loss]}
        return too_short({"settings": {"max_minutes": minutes}, "stages": {"stage2": stage}})

    said = "Only 2 epoch(s) of stage2 fitted into 7 minutes and the loss was still falling: "
    assert note(1.0, 0.8) == said + "give it more (--max-minutes)."
    assert "(--num-epochs)" in note(1.0, minutes=0.0)
    assert note(1.0, 0.8, 0.9) == "" and note(1.0, 0.9, 0.8, 0.7, 0.6) == ""


def test_a_refused_training_writes_nothing_into_the_run(trained: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    refused = train_by_command(data, trained)
    assert "already holds a run" in str(refused.exception) and refused.output == ""
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


@pytest.mark.parametrize("option", ["--out", "--preview"])
def test_a_data_set_is_not_written_into(data: Path, option: str) -> None:
    before = sorted(data.rglob("*"))
    for words in ([data, option, data], [option, data], [data, option, data / "masks"]):
        result = run("train", *words)
        assert isinstance(result.exception, SettingsError), result.exception
        assert "is a data set, and would be written into" in str(result.exception)
    assert sorted(data.rglob("*")) == before


def test_importing_the_folder_loads_nothing_heavy() -> None:
    code = "import sys, foveate.train; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_dry_run_checks_what_a_training_would_and_writes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    result = train_by_command(data, out, "--dry-run", "--folds", "2")
    assert result.exception is None, result.exception
    assert "10 images: training" in result.output
    assert result.output.splitlines()[-1] == "Device: cpu. Nothing was trained or written."
    few = train_by_command(data, out, "--dry-run", "--set", "hint_folds=9")
    assert str(few.exception).endswith("9 folds. Set hint_folds=0, or a lower val_fraction")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    full = train_by_command(data, out, "--dry-run")
    assert "0 MB are free and the run takes about" in str(full.exception)
    assert str(train_by_command(data, out).exception) == str(full.exception)
    assert not out.exists()


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(("dice", "saved"), [(0.0, 2), (0.5, 1)])
def test_of_epochs_that_find_nothing_the_latest_is_kept(
    dice: float, saved: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_judge", lambda *about: dice)
    more = ("--stages", "single", "--set", "num_epochs=2", "--set", "width=2")
    result = train_by_command(data, tmp_path / "run", *more)
    assert result.exception is None and result.output.count("Best model saved.") == saved
