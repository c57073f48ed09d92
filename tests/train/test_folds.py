"""Folds: every image validates once, groups stay whole, runs are runs, and killed ones go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import DataError, SettingsError
from foveate.train.calibration.image_dice import class_means, mean_dice_of
from foveate.train.data.dataset import load_dataset, split_folds
from foveate.train.fitting import fit
from foveate.train.runs.run import read_run, validation_dice
from tests.conftest import train
from tests.train.data.test_dataset import make

ONE = ("--set", "num_epochs=1", "--set", "width=2")


def test_every_image_is_in_one_fold_and_groups_are_whole(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 255), count=13)
    groups = {f"i{index}": f"g{min(index // 2, 4)}" for index in range(12)}  # the last has four
    (root / "groups.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in groups.items()))
    dataset = load_dataset(root)
    folds = split_folds(dataset, 3, seed=1)
    assert sorted(sum(folds, ())) == sorted(dataset.stems)
    assert sorted(map(len, folds)) == [4, 4, 5]
    for group in set(groups.values()):
        members = {stem for stem, name in groups.items() if name == group}
        assert sum(bool(members & set(fold)) for fold in folds) == 1
    assert split_folds(dataset, 3, seed=1) == folds
    assert {split_folds(dataset, 3, seed=seed) for seed in range(5)} != {folds}
    with pytest.raises(DataError, match=r"in 6 group\(s\); expected .* 7 folds"):
        split_folds(dataset, 7, seed=1)


@pytest.mark.usefixtures("short_epochs")
def test_folds_are_runs_and_a_killed_one_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "folds"
    original, calls = fit.networks, []

    def stop_in_the_second(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "networks", stop_in_the_second)
    stopped = train(data, out, "--folds", "2", "--stages", "single", *ONE)
    assert stopped.exception is not None and f"--resume, --out {out}" in stopped.output
    first = (out / "fold-1" / "run.json").read_bytes()
    result = train(data, out, "--folds", "2", "--stages", "single", *ONE, "--resume")
    assert result.exception is None, result.exception
    assert (out / "fold-1" / "run.json").read_bytes() == first and len(calls) == 3

    dataset = load_dataset(data, stems=(data / "train.txt").read_text().split())
    folds = split_folds(dataset, 2, seed=0)
    found = json.loads((out / "folds.json").read_text())
    for row, fold in zip(found["folds"], folds, strict=True):
        record = read_run(out / row["run"])
        assert tuple(record["data"]["validation"]) == fold
        assert set(record["data"]["training"]) == set(dataset.stems) - set(fold)
        scores = validation_dice(out / row["run"], dataset)
        assert row["images"] == len(fold) and row["dice"]["mean"] == pytest.approx(
            mean_dice_of(scores), abs=1e-5
        )
    values = [row["dice"]["mean"] for row in found["folds"]]
    assert found["mean"]["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    assert found["deviation"]["mean"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert "fold-2" in result.output and "deviation" in result.output
    assert f"Fold 2 of 2, validated on {len(folds[1])} images: {out / 'fold-2'}" in result.output
    assert "on all validation images of each fold" in result.output
    assert f"Next: foveate export {out} --out {out}.bundle" in result.output
    again = train(data, out, "--folds", "2", "--stages", "single", *ONE)
    assert "already holds a run" in str(again.exception) and "images" not in again.output


def test_dice_is_of_whole_images(trained: Path, data: Path) -> None:
    """Classes that are nowhere do not count."""
    means = class_means([[1.0, np.nan], [0.5, np.nan], [np.nan, np.nan]])
    assert means[0] == 0.75 and np.isnan(means[1])
    dataset = load_dataset(data, stems=(data / "train.txt").read_text().split())
    found = validation_dice(trained, dataset)
    assert [len(row) for row in found] == [1] * len(read_run(trained)["data"]["validation"])


def test_folds_that_make_no_sense_are_refused(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "r", "--folds", "2", "--stages", "1")
    assert isinstance(result.exception, SettingsError) and "both or single" in str(result.exception)
    result = train(data, tmp_path / "r", "--folds", "1")
    assert "1 is not in the range x>=2" in str(result.exception) and result.output == ""
    result = train(data, tmp_path / "r", "--folds", "99")
    assert isinstance(result.exception, DataError) and "99 folds" in str(result.exception)
    assert "Chosen from the data" not in result.output


def test_every_fold_has_foreground_or_none_is_trained(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 255), count=9)
    masks = sorted((root / "masks").iterdir())
    for path in masks[:6]:
        blank(path)
    dataset = load_dataset(root)
    for seed in range(5):
        for fold in split_folds(dataset, 3, seed):
            assert any(not dataset.contents[stem].empty for stem in fold)
    blank(masks[6])
    result = train(root, tmp_path / "folds", "--folds", "3", *ONE)
    assert str(result.exception).startswith("1 of 3 folds have no foreground to validate on")
    assert not (tmp_path / "folds").exists()


def blank(path: Path) -> None:
    Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
