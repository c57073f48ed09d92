"""Folders of photographs: masks by one colour, what was converted, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.images import read_image
from foveate.runtime.spec import channel_count
from tests.conftest import run
from tests.drawing import ellipse, threshold_network, threshold_spec
from tests.runtime.serve.served import served
from tests.threshold_bundle import write_bundle

GROUND, LESION = (90, 200, 140), (220, 40, 60)
MASK = ellipse(90, 130)


def bundle_of(folder: Path, channels: str, seen: int) -> Path:
    """Write a bundle whose mask is where one channel is over half its range."""
    count = channel_count(channels)
    stages = (threshold_network(count + hint, channel=seen) for hint in (0, 1))
    description = {"name": "threshold", "width": 1, "depth": 0}
    path = folder / f"{channels}.bundle"
    write_bundle(path, threshold_spec(channels=channels), description, *stages)
    return path


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tmp_path_factory.mktemp("red"), "rgb", 0)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Red lesions on green that is brighter in grey: of phone, print, screen and scanner."""
    folder, tags = tmp_path / "in", Image.Exif()
    folder.mkdir()
    tags[0x0112] = 6
    pixels = np.where(MASK[:, :, None] > 0, LESION, GROUND).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(folder / "phone.jpg", exif=tags, quality=95)
    picture.convert("CMYK").save(folder / "print.jpg", quality=95)
    picture.convert("RGBA").save(folder / "screen.png")
    cv2.imwrite(str(folder / "deep.png"), pixels[:, :, ::-1] * np.uint16(257))
    cv2.imwrite(str(folder / "scan.png"), MASK * 255)
    np.save(folder / "many.npy", np.zeros((9, 9, 5), np.uint8))
    (folder / "IMG_2.HEIC").write_bytes(b"heic")
    return folder


def lines_of(out: Path) -> dict[str, Any]:
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {Path(line["input"]).name: line for line in lines}


def test_photographs_are_segmented_by_their_colour(
    red: Path, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("segment", red, photographs, "--out", out, "--overlay", "--objects", "--page")
    assert done.return_value == 1
    assert "1 grey images were given to an rgb bundle: repeated three times" in done.output
    assert "no images: .HEIC (HEIC is not read: convert it to JPEG)" in done.output
    assert "many.npy: has 5 channels; expected grey or RGB" in done.output
    lines = lines_of(out)
    assert {name: line.get("read_as") for name, line in lines.items()} == {
        "phone.jpg": None, "print.jpg": None, "screen.png": None, "deep.png": None,
        "scan.png": "rgb",
    }  # fmt: skip
    for name, line in lines.items():
        mask = cv2.imread(str(out / line["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        expected = np.rot90(MASK, -1) if name == "phone.jpg" else MASK
        assert np.mean(mask != expected) < 0.02, name
    for folder in ("overlays", "thumbnails"):
        picture = cv2.imread(str(out / folder / "screen.jpg")).astype(int)
        assert np.abs(picture[85, 125] - GROUND[::-1]).max() < 12
    rows = (out / "objects.csv").read_text().splitlines()
    table = {Path(row["image"]).name: row for row in csv.DictReader(rows)}
    grey = grey_of(read_image(photographs / "screen.png", channels="rgb"), "rgb")
    found = float(table["screen.png"]["grey_mean"])
    assert found == pytest.approx(grey[MASK > 0].mean(), abs=1)


def test_colours_given_to_a_grey_bundle_are_told(
    thresholds: Path, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("segment", thresholds, photographs, "--out", out, "--json")
    assert json.loads(done.output.splitlines()[0])["read_as"] == {"grey": 4}
    assert {line.get("read_as") for line in lines_of(out).values()} == {None, "grey"}


def test_a_server_reads_by_the_bundle(tmp_path: Path, photographs: Path) -> None:
    four = bundle_of(tmp_path, "4", 2)
    planes = np.zeros((*MASK.shape, 4), np.uint8)
    planes[:, :, 2] = 255 * MASK
    np.save(tmp_path / "a.npy", planes)
    with served(four) as there:
        refused = there.ask("/mask", (photographs / "screen.png").read_bytes())
        assert refused.status == 422
        assert b"the upload has 3 channels; expected 4. Convert it" in refused.body
        answer = there.ask("/mask", (tmp_path / "a.npy").read_bytes())
        with Cascade.load(four, engine="onnxruntime") as cascade:
            expected = cascade(planes).mask * 255
        found = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(found, expected)
        assert np.mean((found > 0) != MASK) < 0.02
