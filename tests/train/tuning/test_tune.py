"""Tuning: trials are runs, the best is one, a killed study goes on as if it had not been."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from click.testing import Result

from foveate.runtime.errors import SettingsError
from foveate.train.runs.run import load_run
from foveate.train.settings.settings import Settings
from foveate.train.tuning.space import read_space
from foveate.train.tuning.study import Study
from foveate.train.tuning.tune import step_of
from tests.conftest import TINY, run
from tests.train.forked import kill_at

SPACE = "[learning_rate]\nlow = 1e-3\nhigh = 1e-2\nlog = true\n[batch_size]\nchoices = [2, 4]\n"
FIXED = [item for item in TINY if not item.startswith("batch_size")]
FIXED += ["num_epochs=1", "width=2", "hint_folds=0"]


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    space = out.parent / "space.toml"
    space.write_text(SPACE)
    settings = [item for value in FIXED for item in ("--set", value)]
    return ["tune", str(data), "--out", str(out), "--space", str(space), *settings, *more]


def tune(data: Path, out: Path, *more: str) -> Result:
    return run(*arguments(data, out, *more))


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("short_epochs")
def test_a_killed_study_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    result = tune(data, whole, "--trials", "2")
    assert result.exception is None, result.exception
    assert [row["state"] for row in rows(whole)] == ["complete"] * 2
    assert float(rows(whole)[0]["learning_rate"]) == Settings().learning_rate  # trial 0: as it is

    killed = tmp_path / "killed"
    kill_at("Trial 1 (2 of 2)", lambda: tune(data, killed, "--trials", "2"))
    result = tune(data, killed, "--trials", "2")
    assert result.exception is None, result.exception
    names = ("learning_rate", "batch_size", "state")
    assert [[row[name] for name in names] for row in rows(killed)] == [
        [row[name] for name in names] for row in rows(whole)
    ]
    assert [row["trial"] for row in rows(killed)] == ["0", "2"]  # 1 died and was repeated

    best = max(rows(killed), key=lambda row: float(row["dice"]))
    assert (killed / "best").resolve().name == f"{int(best['trial']):03d}"
    assert load_run(killed / "best")[1]["settings"]["batch_size"] == int(best["batch_size"])
    assert (killed / "trials.png").stat().st_size > 5000
    refused = tune(data, killed, "--trials", "3", "--set", "weight_decay=0.5")
    assert "weight_decay: 0.01 -> 0.5" in str(refused.exception)
    exported = run("export", killed / "best", "--out", tmp_path / "best.bundle")
    assert exported.exception is None, exported.exception


@pytest.mark.usefixtures("short_epochs")
def test_a_trial_that_cannot_be_trained_is_listed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    given = arguments(data, out, "--trials", "1", "--set", "class_names=a,b")
    result = run(*given)
    assert result.exception is None and "No trial is complete" in result.output
    assert rows(out)[0]["state"] == "failed" and "2 name(s)" in rows(out)[0]["reason"]


def test_what_does_worse_than_the_median_is_ended(tmp_path: Path) -> None:
    space = read_space(None, {})
    study = Study(tmp_path / "s", space, seed=0, warm_up=1)
    for number in range(8):
        trial, _ = study.ask(Settings())
        for step in range(4):
            trial.report(0.1 if number == 7 else 0.5 + number / 100, step)
            if trial.should_prune():
                study.prune(trial)
                break
        else:
            study.tell(trial, 0.5 + number / 100)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 7 + ["PRUNED"]
    assert study.trials[-1].last_step == 1 and study.best is not None and study.best.number == 6


def test_stage_2_comes_after_stage_1_and_time_counts_where_it_decides() -> None:
    row = {"epoch": 4, "seconds": 30.0}
    epochs, timed = Settings(num_epochs=10), Settings(max_minutes=2, hint_folds=0)
    assert step_of(epochs, "stage1", row) == 3 and step_of(epochs, "stage2", row) == 13
    assert step_of(timed, "stage1", row) == 10 and step_of(timed, "stage2", row) == 30
    assert step_of(timed, "stage1", {"epoch": 9, "seconds": 61.0}) == 19


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[learnig_rate]\nlow = 1\nhigh = 2\n", 'nearest is "learning_rate"'),
        ("[width]\nlow = 8\n", r"\[width\]: expected choices = .* or low and high"),
        ("width = 8\n", r"\[width\]: expected choices"),
        ("[width]\nchoices = []\n", r"\[width\]: expected choices"),
        ("[width]\nlow = 8\nhigh = 4\n", "from 8 to 4; expected low < high"),
        ("[width]\nlow = 0\nhigh = 4\n", "width is 0; expected 1 to 256"),
        ("[width]\nlow = 1.5\nhigh = 4\n", r"width is 1\.5; expected int"),
        ("[rotate_degrees]\nlow = 0\nhigh = 4\nlog = true\n", "low = 0; expected over 0"),
        ("[region_mode]\nlow = 0\nhigh = 4\n", "is a word; expected choices"),
        ("[seed]\nlow = 0\nhigh = 4\n", "seed: set, and searched by"),
        ("", "nothing is left to search"),
    ],
)
def test_a_wrong_space_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_space(path, {"seed": 3})


def test_a_setting_that_is_set_leaves_the_default_space() -> None:
    names = [item.name for item in read_space(None, {"learning_rate": 1e-3})]
    assert "learning_rate" not in names and "batch_size" in names
