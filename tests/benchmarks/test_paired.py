"""Two evaluations compared image by image."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.benchmarks.scripts.paired import paired_difference
from foveate.runtime.errors import DataError


def written(path: Path, dice: list[str]) -> Path:
    """Write an images.csv: stem, its group, Dice; the group is the stem's first letter."""
    lines = ["stem,group,class,method,dice"]
    for number, value in enumerate(dice):
        lines += [f"{'ab'[number % 2]}{number},{'ab'[number % 2]},pit,cascade,{value}"]
        lines += [f"{'ab'[number % 2]}{number},{'ab'[number % 2]},pit,stage 1,0.0"]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_difference_is_of_the_same_images_and_its_interval_of_groups(tmp_path: Path) -> None:
    ours = written(tmp_path / "a.csv", ["0.8", "0.5", "0.6", ""])
    theirs = written(tmp_path / "b.csv", ["0.7", "0.5", "0.5", ""])
    mean, other, difference = paired_difference(ours, theirs, "cascade")
    assert mean.value == pytest.approx(19 / 30) and other.value == pytest.approx(17 / 30)
    assert difference.value == pytest.approx(2 / 30)
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.1))  # group b, group a alone


def test_other_images_another_file_and_no_such_method_are_named(tmp_path: Path) -> None:
    ours = written(tmp_path / "a.csv", ["0.8", "0.5"])
    with pytest.raises(DataError, match="not of the same images"):
        paired_difference(ours, written(tmp_path / "b.csv", ["0.8"]), "cascade")
    with pytest.raises(DataError, match='nothing of the method "single"'):
        paired_difference(ours, ours, "single")
    (tmp_path / "c.csv").write_text("stem\na\n")
    with pytest.raises(DataError, match="not an images.csv"):
        paired_difference(ours, tmp_path / "c.csv", "cascade")
