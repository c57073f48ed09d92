"""``segment --objects``: the table of a run, however the run went."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.outputs import MOST_LABELS, encode_labels
from foveate.runtime.objects.labels import label_objects
from tests.conftest import run

SPLIT = ("--objects", "--split", "touching", "--labels")


def spots(count: int) -> npt.NDArray[np.uint8]:
    """Return an image of bright discs, 64 pixels a side."""
    image = np.zeros((64, 64), np.uint8)
    for number in range(count):
        cv2.circle(image, (10 + 20 * (number % 3), 10 + 20 * (number // 3)), 6, 200 + number, -1)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of 0 to 4 discs: one of three pages, one whose name is not easy to write in CSV."""
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / 'a "b", c.png'), spots(2))
    cv2.imwrite(str(folder / "none.png"), spots(0))
    pages = [Image.fromarray(spots(count)) for count in (1, 4, 3)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    return folder


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_every_object(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = (*SPLIT, "--probability", "--pixel-size", "0.5um", "--json")
    done = run("segment", thresholds, folder, "--out", out, *options)
    found = rows(out / "objects.csv")
    named = [(Path(row["image"]).name, row["page"], row["object"]) for row in found]
    assert named == [
        *(('a "b", c.png', "0", str(n)) for n in (1, 2)),
        ("stack.tif", "1", "1"),
        *(("stack.tif", "2", str(n)) for n in (1, 2, 3, 4)),
        *(("stack.tif", "3", str(n)) for n in (1, 2, 3)),
    ]
    journal = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted(line["objects"]["bright"] for line in journal) == [0, 1, 2, 3, 4]
    areas = sum(int(row["area_px"]) for row in found)
    assert json.loads(done.output)["objects"] == {"bright": {"count": 10, "area_px": areas}}
    assert areas == sum(line["area"]["bright"] for line in journal)
    for row in found:
        name = Path(row["image"]).stem + (f".p{row['page']}" if row["page"] != "0" else "")
        numbers = cv2.imread(str(out / "objects" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert numbers.dtype == np.uint16
        inside = numbers == int(row["object"])
        assert inside.sum() == int(row["area_px"]) == float(row["area_um2"]) * 4
        picture = cv2.imread(str(out / "probability" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert float(row["probability_mean"]) == pytest.approx(picture[inside].mean() / 255)
        left, top = int(row["box_left"]), int(row["box_top"])
        assert inside[:, left].any() and inside[top].any() and not inside[:top].any()


def test_a_resumed_run_and_shards_give_the_same_table(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, folder, "--objects", "--out")
    told = run(*command, tmp_path / "whole").output
    assert "10 objects of bright, " in told
    whole = (tmp_path / "whole" / "objects.csv").read_bytes()

    killed = tmp_path / "killed"
    run(*command, killed)
    (killed / "objects.csv").unlink()
    (killed / "objects" / "stack.p2.csv").unlink()
    journal = (killed / "results.jsonl").read_text().splitlines(keepends=True)
    left = sorted(journal, key=lambda line: "p3.png" in line)
    (killed / "results.jsonl").write_text("".join(left)[:-9])
    assert json.loads(run(*command, killed, "--resume", "--json").output)["resumed"] == 3
    assert (killed / "objects.csv").read_bytes() == whole

    for index in (1, 2):
        assert run(*command, tmp_path / "shards", "--shard", f"{index}/2").return_value == 0
    parts = [(tmp_path / "shards" / f"objects.{n}-of-2.csv").read_bytes() for n in (1, 2)]
    lines = [part.splitlines(keepends=True) for part in parts]
    assert lines[0][0] == lines[1][0] == whole.splitlines(keepends=True)[0]
    assert sorted(lines[0][1:] + lines[1][1:]) == sorted(whole.splitlines(keepends=True)[1:])


def test_resume_refuses_other_objects_and_takes_folders_without(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, folder, "--out", tmp_path / "out")
    run(*command)
    refused = run(*command, "--objects", "--resume").exception
    assert isinstance(refused, SettingsError) and "objects False, now True" in str(refused)
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    for name in ("objects", "labels", "split"):  # a folder of an older version
        del job["outputs"][name]
    (tmp_path / "out" / "job.json").write_text(json.dumps(job))
    assert json.loads(run(*command, "--resume", "--json").output)["resumed"] == 5


def test_too_many_objects_for_a_label_image_fail_that_image(
    folder: Path, thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dots = np.zeros((2, 2 * MOST_LABELS), np.uint8)
    dots[0, ::2] = 1
    picture = cv2.imdecode(np.frombuffer(encode_labels(label_objects(dots)), np.uint8), -1)
    np.testing.assert_array_equal(picture[0, ::2], np.arange(1, MOST_LABELS + 1))
    monkeypatch.setattr("foveate.runtime.io.outputs.MOST_LABELS", 3)
    done = run("segment", thresholds, folder, "--out", tmp_path / "out", "--objects", "--labels")
    assert done.return_value == 1
    assert "has 4 objects, and a 16-bit picture can number 3; segment" in done.output
    assert not (tmp_path / "out" / "stack.p2.png").exists()
    assert len(rows(tmp_path / "out" / "objects.csv")) == 6
