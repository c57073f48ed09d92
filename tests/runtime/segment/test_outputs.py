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

from foveate.benchmarks.evaluation.views import CASCADE, views
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import image_paths, read_image
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
    assert close.mean() < 1e-3
    return close


def test_a_line_for_every_image_says_what_was_found(
    bundle: Path, data: Path, reference: Cascade, tmp_path: Path
) -> None:
    done = run("segment", bundle, data / "images", "--out", tmp_path, "--batch", 2)
    assert done.return_value == 0
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
        mask = (tmp_path / row["mask"]).read_bytes()
        assert hashlib.sha256(mask).hexdigest() == row["mask_sha256"] == row["files"][row["mask"]]
        assert row["input_bytes"] == path.stat().st_size


@pytest.mark.parametrize("kind", ["png", "npz", "coco"])
def test_every_format_holds_the_same_mask(
    bundle: Path, data: Path, reference: Cascade, tmp_path: Path, kind: str
) -> None:
    path = image_paths(data / "images")[0]
    wanted = reference(read_image(path)).mask
    options = ("--format", kind, "--overlay", "--probability")
    assert run("segment", bundle, path, "--out", tmp_path, *options).return_value == 0
    (row,) = lines(tmp_path).values()
    assert set(row["files"]) == {
        row["mask"], f"overlays/{path.stem}.jpg", f"probability/{path.stem}.png",
    }  # fmt: skip
    if kind == "png":
        mask = cv2.imread(str(tmp_path / row["mask"]), cv2.IMREAD_GRAYSCALE) // 255
    elif kind == "npz":
        with np.load(tmp_path / row["mask"], allow_pickle=False) as arrays:
            mask = arrays["mask"]
    else:
        content = json.loads((tmp_path / "annotations.json").read_text())
        assert sum(entry["area"] for entry in content["annotations"]) == wanted.sum()
        assert content["images"][0]["file_name"] == str(path)
        return
    np.testing.assert_array_equal(mask, wanted)


def test_a_tree_is_mirrored(bundle: Path, data: Path, tmp_path: Path) -> None:
    for folder in ("a", "a/b", "c"):
        (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(image_paths(data / "images")[0], tmp_path / "in" / folder / "scan.png")
    out = tmp_path / "out"
    done = run("segment", bundle, tmp_path / "in", "--recursive", "--overlay", "--out", out)
    assert done.return_value == 0, done.output
    masks = {path.relative_to(out).as_posix() for path in out.rglob("scan.png")}
    assert masks == {"a/scan.png", "a/b/scan.png", "c/scan.png"}
    assert (out / "overlays" / "a" / "b" / "scan.jpg").exists()


def test_the_summary_says_where_the_time_went(bundle: Path, data: Path, tmp_path: Path) -> None:
    options = ("--workers", 3, "--batch", 2, "--threads", 1, "--json")
    done = run("segment", bundle, data / "images", "--out", tmp_path, *options)
    summary = json.loads(done.output)
    plan = {"workers": 3, "batch": 2, "threads": 1, "measured_ms": {}, "actors": 0}
    assert summary["plan"] == plan
    assert summary["bottleneck"] in ("decode", "engine", "encode")
    assert all(summary["core_ms"][stage] > 0 for stage in ("decode", "engine", "encode"))
    assert sum(summary["utilisation"].values()) == pytest.approx(summary["share_of_ceiling"])
    assert 0 < summary["share_of_ceiling"] < 3 and summary["ceiling_images_per_second"] > 0


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


def test_progress_is_plain_lines_without_a_terminal(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveate.runtime.cli import segment as segment_cli

    monkeypatch.setattr(segment_cli, "PLAIN_S", 1e-9)
    done = run("segment", bundle, data / "images", data / "no.png", "--out", tmp_path)
    said = [line for line in done.stderr.splitlines() if line.startswith("segmenting ")]
    assert len(said) == 13 and said[-1].startswith("segmenting 13/13, ")
    assert "1 failed" in said[-1] and said[-1].endswith("-bound")
