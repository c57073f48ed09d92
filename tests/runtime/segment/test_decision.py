"""Decisions as options of ``segment`` and ``serve``: masks, journal, ``--resume``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime import Cascade, Decision, read_image
from foveate.runtime.auto.choose import Choice
from foveate.runtime.cascade.decide import decide
from foveate.runtime.errors import SettingsError
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.inputs import Item
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.item_worker import Written
from foveate.runtime.segment.ray.actor import ActorJob, _worker
from tests.conftest import run
from tests.runtime.serve.served import served

OPTIONS = ("--threshold", "0.04", "--smooth", "1", "--fill-holes", "--min-area", "6um2")
DECISION = Decision(threshold=0.04, smooth=1, fill_holes=True, min_area="6um2")
WRITTEN = {"threshold": "0.04", "smooth": "1px", "fill_holes": True, "min_area": "6um2"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Bright and dim discs, with a hole each, on black; dim is under the bundle's threshold."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        image = np.zeros((80, 100), np.uint8)
        for x, grey in ((25, 120), (70, 200)):
            cv2.circle(image, (x, 30 + 3 * number), 16 - number, grey, -1)
            cv2.circle(image, (x, 30 + 3 * number), 3, 0, -1)
        cv2.circle(image, (12, 70), 1, 220, -1)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def test_masks_are_decided_and_the_journal_says_how(
    thresholds: Path, images: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, images, "--engine", "onnxruntime", "--pixel-size", "0.5um")
    for batch in (1, 3):
        out = tmp_path / str(batch)
        done = run(*command, "--out", out, *OPTIONS, "--batch", batch, "--workers", 3)
        assert done.return_value == 0, done.output
        rows = list(map(json.loads, (out / "results.jsonl").read_text().splitlines()))
        assert json.loads((out / "job.json").read_text())["decision"] == {
            "largest_only": None, **WRITTEN
        }  # fmt: skip
        for row in rows:
            image = read_image(row["input"])
            with Cascade.load(thresholds, "onnxruntime", threads=1) as cascade:
                plain = cascade(image, probabilities=True)
                mask = decide(plain, cascade.spec, DECISION, PixelSize(0.0005, 0.0005)).mask
            assert np.count_nonzero(mask) > 1.5 * np.count_nonzero(plain.mask) > 0
            np.testing.assert_array_equal(read_image(out / row["mask"]), 255 * mask)
            assert row["area"] == {"bright": int(mask.sum())} and row["decision"] == WRITTEN
            assert row["score"] == pytest.approx(plain.score, abs=1e-6)


def test_an_image_that_states_no_pixel_size_fails_alone(
    thresholds: Path, images: Path, tmp_path: Path
) -> None:
    with Image.open(images / "0.png") as image:
        image.save(images / "sized.png", dpi=(50800, 50800))
    done = run("segment", thresholds, images, "--out", tmp_path / "out", "--min-area", "20um2")
    assert done.return_value == 1
    assert "states no pixel size, and min-area is 20um2; give --pixel-size, or" in done.output
    (row,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert Path(row["input"]).name == "sized.png" and row["pixel_size_mm"] == [0.0005, 0.0005]
    assert row["decision"] == {"min_area": "20um2"}


def test_nothing_is_decided_unless_asked_for(
    thresholds: Path, images: Path, tmp_path: Path
) -> None:
    assert run("segment", thresholds, images, "--out", tmp_path / "out").return_value == 0
    rows = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert not any("decision" in row for row in rows)


def test_resume_refuses_another_decision(thresholds: Path, images: Path, tmp_path: Path) -> None:
    command = ("segment", thresholds, images, "--out", tmp_path / "out", "--resume")
    assert run(*command, "--threshold", "0.3").return_value == 0
    assert "3 done before" in run(*command, "--threshold", "0.30").output
    for options, said in (
        (("--threshold", "0.4"), "threshold 0.3, now 0.4"),
        ((), "threshold 0.3, now not given"),
        (("--threshold", "0.3", "--fill-holes"), "fill_holes not given, now True"),
    ):
        with pytest.raises(SettingsError, match=f"started with other options: {said}"):
            raise run(*command, *options).exception or AssertionError


def test_a_folder_of_an_older_version_is_resumed(
    thresholds: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("segment", thresholds, images, "--out", out, "--resume")
    run(*command)
    job = json.loads((out / "job.json").read_text())
    del job["decision"]
    (out / "job.json").write_text(json.dumps(job))
    assert "3 done before" in run(*command).output


def test_a_server_decides_every_mask(thresholds: Path, images: Path, tmp_path: Path) -> None:
    decision = Decision(threshold=0.04, largest_only=True)
    options = ("--threshold", "0.04", "--largest-only")
    assert run("segment", thresholds, images, "--out", tmp_path, *options).return_value == 0
    with served(thresholds, decide=decision) as there:
        for path in images.iterdir():
            body = there.ask("/mask", path.read_bytes()).body
            assert body == (tmp_path / path.name).read_bytes()


def test_actors_decide_as_one_process(thresholds: Path, images: Path, tmp_path: Path) -> None:
    choice = Choice("onnxruntime", "fp32", "")
    decision = Decision(threshold=0.04)
    job = ActorJob(
        thresholds, choice, tmp_path, OutputSettings(), Concurrency(1, 1, 1), "", None,
        decision=decision,
    )  # fmt: skip
    done = _worker(job)(Item(images / "0.png", "0"))
    assert isinstance(done, Written) and done.line["decision"] == {"threshold": "0.04"}
