"""``foveate segment`` and ``foveate info`` as their users see them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import image_paths, read_image
from tests.conftest import run


def test_a_folder_becomes_a_folder_of_masks(bundle: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    result = run("segment", bundle, data / "images", "--out", out, "--overlay")
    assert result.exception is None and result.return_value == 0
    with Cascade.load(bundle) as cascade:
        for path in image_paths(data / "images"):
            image = read_image(path)
            mask = cv2.imread(str(out / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
            np.testing.assert_array_equal(mask, cascade(image).mask * 255)
            picture = cv2.imread(str(out / "overlays" / f"{path.stem}.jpg"))
            assert picture.shape == (*image.shape, 3)
    assert not (out / "failures.jsonl").exists()


def test_one_bad_file_stops_no_other(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(data / "images", folder)
    (folder / "bad.png").write_text("no image")
    Image.new("CMYK", (4, 4)).save(folder / "ink.jpg")
    result = run("segment", bundle, folder, tmp_path / "nowhere.png", "--out", tmp_path / "out")
    assert result.return_value == 1
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    failures = {Path(row["input"]).name: row["reason"] for row in map(json.loads, lines)}
    assert set(failures) == {"bad.png", "ink.jpg", "nowhere.png"}
    assert failures["nowhere.png"] == "no such file or folder" and "CMYK" in failures["ink.jpg"]
    assert len(list((tmp_path / "out").glob("*.png"))) == len(image_paths(data / "images"))
    assert "3 failed, listed in" in result.output


def test_failures_of_an_earlier_run_are_gone(bundle: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").write_text("{}\n")
    image = image_paths(data / "images")[0]
    assert run("segment", bundle, image, "--out", tmp_path).return_value == 0
    assert not (tmp_path / "failures.jsonl").exists()


def test_the_summary_as_json(bundle: Path, data: Path, tmp_path: Path) -> None:
    result = run("segment", bundle, data / "images", "--out", tmp_path, "--json")
    summary = json.loads(result.output)
    assert summary["written"] == 12 and summary["failures"] == []
    assert summary["engine"] == "onnxruntime" and summary["images_per_second"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_is_written(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500)).astype(np.uint8)
    for index in range(60):
        cv2.imwrite(str(folder / f"{index:03d}.png"), noise)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "foveate",
        "segment",
        str(bundle),
        str(folder),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if len(list(out.glob("*.png"))) >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    masks = list(out.glob("*.png"))
    assert process.returncode == 130 and "Interrupted" in errors
    assert 2 <= len(masks) < 60 and not list(out.glob(".foveate-*"))
    for mask in masks:
        assert read_image(mask).shape == (1500, 1500)


def test_info_names_engines_and_checks_the_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))  # it times engines
    assert "engine onnxruntime: " in run("info").output
    facts = json.loads(run("info", bundle, "--json").output)["bundle"]
    assert facts["classes"] == "background, lesion" and "disagreement" in facts["parity fp32"]
    shutil.copytree(bundle, tmp_path / "b")
    (tmp_path / "b" / "preview.png").write_bytes(b"")
    assert "does not match its sha256" in str(run("info", tmp_path / "b").exception)
