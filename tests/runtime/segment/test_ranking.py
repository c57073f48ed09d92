"""``segment --rank``: the images of a run by doubt, however the run went."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.ranking import PARTS
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from tests.conftest import DEMO, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Discs whose grey is more and more often near the threshold, an empty image, a broken one."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, grey in enumerate((255, 180, 140, 132, 132)):
        image = np.zeros((80, 100), np.uint8)
        cv2.circle(image, (60, 40), 20, grey, -1)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    cv2.imwrite(str(folder / "a, b.png"), np.zeros((80, 100), np.uint8))
    (folder / "text.png").write_text("text")
    return folder


def journal(out: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {Path(line["input"]).name: line for line in lines}


def test_the_most_doubtful_image_comes_first(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, folder, "--rank", "--out")
    told = run(*command, tmp_path / "out").output
    with (tmp_path / "out" / "ranking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    names = [Path(row["image"]).name for row in rows]
    assert names == ["3.png", "4.png", "a, b.png", "2.png", "1.png", "0.png"]
    lines = journal(tmp_path / "out")
    for row in rows:
        line = lines[Path(row["image"]).name]
        parts = {name: float(row[name]) for name in PARTS}
        assert line["doubt_parts"] == parts and line["doubt"] == float(row["doubt"])
        assert (line["mask"], line["score"]) == (row["mask"], float(row["score"]))
    first = ", ".join(f"{row['image']} ({float(row['doubt']):.3f})" for row in rows[:3])
    assert f"ranking.csv has the images by doubt, what to label first: {first}\n" in told

    plain = tmp_path / "plain"
    run("segment", thresholds, folder, "--out", plain)
    assert not (plain / "ranking.csv").exists()
    for name, line in journal(plain).items():
        assert lines[name].keys() - line.keys() == {"doubt", "doubt_parts"}
        assert (plain / line["mask"]).read_bytes() == (tmp_path / "out" / line["mask"]).read_bytes()


def test_batches_resumed_runs_and_shards_give_the_same_doubt(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, folder, "--rank", "--engine", "onnxruntime", "--out")
    run(*command, tmp_path / "whole", "--batch", 1)
    whole = (tmp_path / "whole" / "ranking.csv").read_bytes()

    batched = json.loads(
        run(*command, tmp_path / "b", "--batch", 3, "--workers", 3, "--json").output
    )
    assert (tmp_path / "b" / "ranking.csv").read_bytes() == whole
    first = batched["ranking"]["first"]
    assert batched["ranking"]["file"] == "ranking.csv"
    assert [Path(line["input"]).name for line in first] == ["3.png", "4.png", "a, b.png"]

    killed = tmp_path / "whole"
    (killed / "ranking.csv").unlink()
    (killed / "3.png").unlink()
    assert json.loads(run(*command, killed, "--resume", "--json").output)["resumed"] == 5
    assert (killed / "ranking.csv").read_bytes() == whole
    refused = run("segment", thresholds, folder, "--out", killed, "--resume").exception
    assert isinstance(refused, SettingsError) and "rank True, now False" in str(refused)

    for index in (1, 2):
        run(*command, tmp_path / "shards", "--batch", 1, "--shard", f"{index}/2")
    parts = [tmp_path / "shards" / f"ranking.{index}-of-2.csv" for index in (1, 2)]
    rows = [row.split(",", 1)[1] for part in parts for row in part.read_text().splitlines()[1:]]
    expected = [row.split(",", 1)[1] for row in whole.decode().splitlines()[1:]]
    assert sorted(rows) == sorted(expected)


def test_degraded_phantoms_rank_over_clean_ones(tmp_path: Path) -> None:
    list(write_phantoms(tmp_path, PhantomSettings(3, 1024, seed=5, empty_fraction=0)))
    folder, noise = tmp_path / "images", np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        top = np.iinfo(image.dtype).max
        grey = cv2.GaussianBlur(image.astype(np.float32) / top, (0, 0), 3)
        grey = np.clip(grey + noise.normal(0, 0.01, grey.shape), 0, 1)
        cv2.imwrite(str(folder / f"degraded_{path.name}"), (grey * top).astype(image.dtype))
    run("segment", DEMO, folder, "--rank", "--out", tmp_path / "out")
    rows = (tmp_path / "out" / "ranking.csv").read_text().splitlines()[1:]
    assert [",degraded_" in row for row in rows] == 3 * [True] + 3 * [False], rows
