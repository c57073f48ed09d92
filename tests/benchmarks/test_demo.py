"""The demo: its bundle is sound, its figures hold, and its page needs nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.benchmarks.demo import SEED, bundle_path
from foveate.runtime.bundle.bundle import open_bundle
from tests.conftest import run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    out = tmp_path_factory.mktemp("demo")
    result = run("demo", "--out", out, "--count", "24", "--json")
    assert result.exception is None, result.exception
    return out, json.loads(result.output)


def test_the_shipped_bundle_is_small_and_sound() -> None:
    bundle = open_bundle(bundle_path())
    for name in bundle.manifest["files"]:
        bundle.read(name)
    assert sum(path.stat().st_size for path in bundle_path().iterdir()) <= 3_000_000
    assert bundle.manifest["data"]["licence"].startswith("CC0")
    assert SEED != 11, "the training seed of the shipped bundle"


def test_unseen_phantoms_are_segmented_well(demo: tuple[Path, dict[str, float]]) -> None:
    _, figures = demo
    assert figures["mean"] >= 0.9
    assert figures["large"] >= 0.95


def test_the_page_holds_every_image_and_loads_nothing(demo: tuple[Path, dict[str, float]]) -> None:
    out, figures = demo
    page = (out / "index.html").read_text()
    assert page.count('<section class="card">') == 24 and f"{figures['mean']:.3f}" in page
    assert "{{" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources and all(source.startswith("data:image/") for source in sources)


def test_masks_are_as_large_as_their_images(demo: tuple[Path, dict[str, float]]) -> None:
    out, _ = demo
    images = sorted((out / "images").iterdir())
    assert len(images) == 24
    for path in images:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(out / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert image.shape == mask.shape and set(np.unique(mask)) <= {0, 255}
