"""The shipped examples: small, sound, described, and ready to segment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.bundle.bundle import open_bundle
from foveate.train.data.phantom import PhantomSettings, phantom
from tests.conftest import run

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("bsdata", "usgra")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))  # info times engines
    folder = EXAMPLES / name
    result = run("info", folder)
    assert result.exception is None and "files match their sha256" in result.output
    assert (folder / "picture.jpg").stat().st_size < 200_000


def test_the_examples_leave_the_repository_under_ten_megabytes() -> None:
    files = [path for name in NAMES for path in (EXAMPLES / name).iterdir()]
    assert sum(path.stat().st_size for path in files) < 5_250_000


@pytest.mark.parametrize("name", NAMES)
def test_the_card_names_licence_command_and_limits(name: str) -> None:
    card = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    manifest = open_bundle(EXAMPLES / name).manifest
    assert manifest["data"]["licence"] in card
    network = manifest["network"]
    assert f"--set width={network['width']} --set depth={network['depth']}" in card
    for heading in ("## Data", "## Training", "## Figures", "## Limits"):
        assert heading in card


@pytest.mark.parametrize("name", NAMES)
def test_an_example_segments_a_picture_it_has_never_seen(name: str, tmp_path: Path) -> None:
    image = phantom(PhantomSettings(1, 300, seed=8, bits=8), 0).image
    cv2.imwrite(str(tmp_path / "scan.png"), image)
    result = run("segment", EXAMPLES / name, tmp_path / "scan.png", "--out", tmp_path / "masks")
    assert result.exception is None, result.output
    mask = cv2.imread(str(tmp_path / "masks" / "scan.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.shape[:2] == image.shape and mask.dtype == np.uint8
