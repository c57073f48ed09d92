"""What ``foveate segment`` writes: every format through the command, and its journal."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveate.benchmarks.evaluation.views import CASCADE, views
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.segment import concurrency
from tests.conftest import run


def lines(out: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of a run by the name of the image."""
    rows = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {Path(row["input"]).name: row for row in rows}


@pytest.fixture(scope="module")
def reference(bundle: Path) -> Cascade:
    return Cascade.load(bundle, "onnxruntime", threads=1)


def undecided(reference: Cascade, image: Pixels) -> npt.NDArray[np.bool_]:
    """Return where the probability is the threshold to five digits, (H, W).

    An engine may take another kernel for a batch, whose sums end in other bits (5e-7 were seen).
    """
    found = views(reference(image, probabilities=True), reference.spec)[CASCADE]
    close = np.abs(found.foreground - reference.spec.mask_threshold) < 1e-5
    assert close.mean() < 1e-2
    return close


def test_a_mask_and_a_line_for_every_image(
    bundle: Path, data: Path, reference: Cascade, tmp_path: Path
) -> None:
    (tmp_path / "failures.jsonl").write_text("{}\n")  # of an earlier run
    options = ("--out", tmp_path, "--batch", 2, "--overlay")
    assert run("segment", bundle, data / "images", *options).return_value == 0
    assert not (tmp_path / "failures.jsonl").exists()
    found = lines(tmp_path)
    assert len(found) == 12
    for path in image_paths(data / "images"):
        row, image = found[path.name], read_image(path)
        result = reference(image)
        assert (row["height"], row["width"]) == image.shape
        close = int(np.count_nonzero(undecided(reference, image)))
        assert row["area"] == {"lesion": pytest.approx(int(result.mask.sum()), abs=close)}
        assert row["box_xyxy"] == [result.box_xyxy[0].tolist()]
        assert row["score"] == pytest.approx(result.score, abs=1e-5)
        assert ("empty" in row["flags"]) == (not result.mask.any())
        assert set(row["ms"]) == {"h2d", "execute", "d2h", "decode", "encode"}
        pixels = cv2.imread(str(tmp_path / row["mask"]), cv2.IMREAD_GRAYSCALE)
        assert np.count_nonzero(pixels != 255 * result.mask) <= close
        assert cv2.imread(str(tmp_path / f"overlays/{path.stem}.jpg")).shape == (*image.shape, 3)
        mask = (tmp_path / row["mask"]).read_bytes()
        assert hashlib.sha256(mask).hexdigest() == row["mask_sha256"] == row["files"][row["mask"]]
        assert row["input_bytes"] == path.stat().st_size


def test_the_summary_says_where_the_time_went(bundle: Path, data: Path, tmp_path: Path) -> None:
    options = ("--workers", 3, "--batch", 2, "--threads", 1, "--json")
    done = run("segment", bundle, data / "images", "--out", tmp_path, *options)
    summary = json.loads(done.output)
    plan = {"workers": 3, "batch": 2, "threads": 1, "measured_ms": {}, "actors": 0, "sizes": []}
    assert summary["plan"] == plan
    assert summary["bottleneck"] in ("decode", "engine", "encode")
    assert all(summary["core_ms"][stage] > 0 for stage in ("decode", "engine", "encode"))
    assert sum(summary["utilisation"].values()) == pytest.approx(summary["share_of_ceiling"])
    assert 0 < summary["share_of_ceiling"] < 3 and summary["ceiling_images_per_second"] > 0


@pytest.mark.parametrize("batch", [1, 2])
def test_the_threads_of_openvino_count_as_busy_while_it_runs(
    bundle: Path, data: Path, tmp_path: Path, batch: int
) -> None:
    options = ("--engine", "openvino", "--batch", batch, "--threads", 1, "--json")
    done = run("segment", bundle, data / "images", "--out", tmp_path, *options)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    execute = sum(row["ms"]["execute"] for row in rows) / len(rows)
    assert json.loads(done.output)["core_ms"]["engine"] == pytest.approx(execute, rel=0.01)


def test_openvino_is_compiled_for_the_size_that_most_images_have(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ("--engine", "openvino", "--precision", "fp32")
    folders = {8: tmp_path / "fixed", 500: tmp_path / "any"}
    for pays, out in folders.items():
        monkeypatch.setattr(concurrency, "PAYS", pays)
        assert run("segment", bundle, data / "images", "--out", out, *engine).return_value == 0
        plan = json.loads((out / "job.json").read_text())["plan"]
        assert plan["sizes"] == ([[160, 160]] if pays == 8 else [])
    fixed, other = (lines(out) for out in folders.values())
    assert {name: row["mask_sha256"] for name, row in fixed.items()} == {
        name: row["mask_sha256"] for name, row in other.items()
    }
    (folders[8] / next(iter(fixed.values()))["mask"]).unlink()
    again = ("--out", folders[8], *engine, "--resume", "--json")
    done = run("segment", bundle, data / "images", *again)
    assert json.loads(done.output)["plan"]["sizes"] == [[160, 160]]


def test_masks_do_not_depend_on_workers_batch_or_threads(
    bundle: Path, data: Path, reference: Cascade, tmp_path: Path
) -> None:
    plans = [("1", "1", "1"), ("4", "1", "2"), ("6", "4", "1")]
    folders = []
    for workers, batch, threads in plans:
        folders.append(tmp_path / f"{workers}-{batch}-{threads}")
        options = ("--workers", workers, "--batch", batch, "--threads", threads)
        out = folders[-1]
        assert run("segment", bundle, data / "images", "--out", out, *options).return_value == 0
    paths = image_paths(data / "images")
    assert len(paths) == 12
    for path in paths:
        first, *others = (cv2.imread(str(folder / f"{path.stem}.png"), -1) for folder in folders)
        close = undecided(reference, read_image(path))
        assert not any(((first != other) & ~close).any() for other in others)


def test_files_that_are_no_images_are_counted(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(next((data / "images").iterdir()), folder)
    for name in ("a.gif", "b.gif", "notes.txt"):
        (folder / name).write_bytes(b"GIF89a")
    done = run("segment", bundle, folder, "--out", tmp_path / "out")
    assert "3 other files there are no images: .gif, .txt" in done.output


def test_progress_is_plain_lines_without_a_terminal(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveate.runtime.cli import progress

    monkeypatch.setattr(progress, "PLAIN_S", 1e-9)
    done = run("segment", bundle, data / "images", data / "no.png", "--out", tmp_path)
    said = [line for line in done.stderr.splitlines() if line.startswith("segmenting ")]
    assert len(said) == 14 and said[-1].startswith("segmenting 13/13, ")
    assert "1 failed" in said[-1] and "limited by " in said[-1]


def test_bad_files_stop_no_other(thresholds: Path, data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(data / "images", tmp_path / "in"))
    (folder / "bad.png").write_text("no image")
    Image.new("F", (4, 4)).save(folder / "heat.tif")
    result = run("segment", thresholds, folder, tmp_path / "nowhere.png", "--out", tmp_path / "out")
    assert result.return_value == 1 and "3 failed, listed in" in result.output
    rows = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    failures = {Path(row["input"]).name: row["reason"] for row in rows}
    assert set(failures) == {"bad.png", "heat.tif", "nowhere.png"}
    assert failures["nowhere.png"] == "no such file or folder" and "float32" in failures["heat.tif"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 12


def test_a_run_without_resume_keeps_the_journal_before_it(thresholds: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 64), 99, np.uint8))
    out = tmp_path / "out"
    assert run("segment", thresholds, tmp_path, "--out", out).return_value == 0
    earlier = (out / "results.jsonl").read_bytes()
    assert run("segment", thresholds, tmp_path / "a.png", "--out", out).return_value == 0
    assert (out / "results.jsonl.old").read_bytes() == earlier
    assert len((out / "results.jsonl").read_text().splitlines()) == 1
