"""The memory of a run: flat over many small images, bounded for a very large one."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.soak import FULL
from tests.soak.folders import command
from tests.soak.memory import watch, write_links
from tests.soak.record import record

GROWTH = 0.02 if FULL else 0.1
"""Share by which the resident size may grow; a small run has hardly settled."""
LIMIT_BYTES = 8 << 30 if FULL else 1 << 30
BUNDLE = Path(__file__).parents[2] / "examples" / "bsdata"


@pytest.mark.soak
def test_memory_stays_flat_over_many_images(thresholds: Path, tmp_path: Path) -> None:
    count, settled = (50_000, 2000) if FULL else (300, 100)
    write_links(tmp_path / "in", count)
    out = tmp_path / "out"
    samples, code, _ = watch(command(thresholds, tmp_path / "in", out), out)
    later = [sample.resident for sample in samples if sample.images >= settled]
    growth = max(later) / later[0] - 1
    peak = max(sample.resident for sample in samples)
    record("many-images", {"images": count, "growth": growth, "peak_bytes": peak})
    assert code == 0
    assert growth <= GROWTH


@pytest.mark.soak
def test_a_large_image_stays_within_its_memory(tmp_path: Path) -> None:
    side = 20_000 if FULL else 4000
    path, out = tmp_path / "large.png", tmp_path / "out"
    write_large(path, side)
    started = time.monotonic()
    samples, code, _ = watch(command(BUNDLE, path, out), out)
    seconds = time.monotonic() - started
    peak = max(sample.resident for sample in samples)
    record("large-image", {"side": side, "peak_bytes": peak, "seconds": seconds})
    assert code == 0
    mask = cv2.imread(str(out / "large.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None and mask.shape == (side, side)
    assert peak <= LIMIT_BYTES


def write_large(path: Path, side: int) -> None:
    """Write a smooth 8-bit PNG of side x side pixels; small on disk."""
    down, right = np.ogrid[:side, :side]
    image = (40 + (down // 64 + right // 64) % 8).astype(np.uint8)
    centre, axes = (9 * side // 20, 11 * side // 20), (side // 7, side // 10)
    cv2.ellipse(image, centre, axes, 0, 0, 360, 210, -1)
    assert cv2.imwrite(str(path), image)
