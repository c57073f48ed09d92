"""``--shard I/N``: shares that are disjoint and complete, side by side in one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment import run_lock
from foveate.runtime.segment.run_lock import locked
from foveate.runtime.segment.shards import shard
from tests.conftest import run


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_shares_are_disjoint_complete_and_of_like_size(count: int) -> None:
    items = [Item(Path(f"in/{n}.png"), f"sub/{n}\udcff") for n in range(2000)]
    shares = [shard(f"{index}/{count}").of(items) for index in range(1, count + 1)]
    assert sorted(item.name for share in shares for item in share) == sorted(
        item.name for item in items
    )
    usual = len(items) / count
    assert all(abs(len(share) - usual) < 6 * usual**0.5 for share in shares)


def test_a_share_is_the_same_on_every_machine() -> None:
    """Neither the order, nor the folder the images lie in, nor this program's version counts."""
    names = ["a", "b", "c", "d", "scan.p1", "scan.p2", "sub/a"]
    here = [Item(Path("in") / name, name) for name in names]
    there = [Item(Path("/mnt/in") / name, name) for name in reversed(names)]
    assert [item.name for item in shard("1/2").of(here)] == ["a", "b", "c", "scan.p1"]
    assert {item.name for item in shard("1/2").of(there)} == {"a", "b", "c", "scan.p1"}


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/2/3", "1/200000"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected I/N"):
        shard(text)


def lines(paths: Iterator[Path]) -> list[dict[str, Any]]:
    rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("ms", None)
    return sorted(rows, key=lambda row: str(row["input"]))


def test_shards_together_are_a_whole_run(thresholds: Path, data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(data / "images", tmp_path / "in"))
    (folder / "bad.png").write_text("no image")
    whole, out = tmp_path / "whole", tmp_path / "out"
    run("segment", thresholds, folder, "--out", whole, "--format", "coco")
    codes = [
        run("segment", thresholds, folder, "--out", out, "--format", "coco", "--shard", text)
        for text in ("1/3", "2/3", "3/3")
    ]
    assert sorted(result.return_value for result in codes) == [0, 0, 1]
    assert lines(out.glob("results.*.jsonl")) == lines(iter([whole / "results.jsonl"]))
    assert lines(out.glob("failures.*.jsonl")) == lines(iter([whole / "failures.jsonl"]))
    for path in whole.glob("*.coco.json"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    named = [
        image["file_name"]
        for path in out.glob("annotations.*.json")
        for image in json.loads(path.read_text())["images"]
    ]
    assert len(named) == 12 == len(set(named)) and not (out / "annotations.json").exists()


def test_a_shard_resumes_its_own_share(thresholds: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("segment", thresholds, data / "images", "--out", out, "--json", "--shard")
    for text in ("1/2", "2/2"):
        run(*arguments, text)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    second = [row["mask"] for row in lines(out.glob("results.2-of-2.jsonl"))]
    (out / second[0]).unlink()
    for text, left in (("1/2", 0), ("2/2", 1)):
        assert json.loads(run(*arguments, text, "--resume").output)["written"] == left
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert {name for name in after if after[name] != before[name]} == {second[0]}


def test_runs_that_are_split_otherwise_do_not_mix(
    thresholds: Path, data: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, data / "images", "--out")
    run(*command, tmp_path / "whole")
    run(*command, tmp_path / "shards", "--shard", "1/2")
    for folder, part, was in (("whole", "1/2", "without"), ("shards", "1/3", "in 2 shards")):
        refused = run(*command, tmp_path / folder, "--shard", part).exception
        assert isinstance(refused, SettingsError) and f"is of a run {was}" in str(refused)
    refused = run(*command, tmp_path / "shards").exception
    assert isinstance(refused, SettingsError) and "this one is without --shard" in str(refused)


def test_a_share_may_be_empty(thresholds: Path, data: Path, tmp_path: Path) -> None:
    image = sorted((data / "images").iterdir())[0]
    arguments = ("segment", thresholds, image, "--out", tmp_path, "--shard")
    assert [run(*arguments, f"{n}/4").return_value for n in range(1, 5)] == [0] * 4
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_shards_share_a_folder_and_a_whole_run_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "PROBE_S", 0.05)
    with locked(tmp_path, ".1-of-2"), locked(tmp_path, ".2-of-2"):
        for part in (".1-of-2", ""):
            with pytest.raises(SettingsError, match="another run is writing into"):
                with locked(tmp_path, part):
                    pass
    with locked(tmp_path), pytest.raises(SettingsError, match="another run is writing into"):
        with locked(tmp_path, ".1-of-2"):
            pass
    with locked(tmp_path):
        pass
