"""Folders of small images to segment, and what a run made of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foveate.runtime.engines.base import Pixels
from foveate.runtime.segment.journal import RESULTS

TEMPORARY = ".foveate-*.tmp"


def command(bundle: Path, inputs: Path | str, out: Path, *more: str) -> list[str]:
    """Return the command line of a run in a process of its own."""
    fixed = [sys.executable, "-m", "foveate", "segment", str(bundle), str(inputs)]
    return [*fixed, "--out", str(out), *more]


def spot(side: int, rng: np.random.Generator) -> Pixels:
    """Return a (side, side) uint8 image of a bright ellipse on dark speckle."""
    image = np.full((side, side), 40, np.uint8)
    centre = rng.integers(side // 4, 3 * side // 4, 2)
    axes = rng.integers(side // 12 + 1, side // 5 + 2, 2)
    cv2.ellipse(image, centre.tolist(), axes.tolist(), 0, 0, 360, 210, -1)
    noisy = image + rng.normal(0, 12, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_spots(folder: Path, count: int, side: int, seed: int) -> None:
    """Write so many PNGs, half of them in a subfolder."""
    rng = np.random.default_rng(seed)
    (folder / "more").mkdir(parents=True)
    for number in range(count):
        place = folder / "more" if number % 2 else folder
        if not cv2.imwrite(str(place / f"{number:05d}.png"), spot(side, rng)):
            raise OSError(f"{place}: cannot be written")


def written(out: Path) -> dict[str, bytes]:
    """Return the content of every mask and picture in OUT, by name; the journal is left out."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name[0] != ".")
    kept = (path for path in files if path.parent != out or not _is_journal(path.name))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


def _is_journal(name: str) -> bool:
    return name.startswith(("results", "failures", "job")) and name.endswith((".jsonl", ".json"))


def lines(out: Path, name: str = RESULTS) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a journal; nothing where there is none."""
    path = out / name
    data = path.read_bytes() if path.exists() else b""
    for line in data.split(b"\n")[:-1]:
        yield json.loads(line)


def timeless(out: Path) -> list[str]:
    """Return the lines of the results without their times, sorted."""
    return sorted(
        json.dumps({name: value for name, value in line.items() if name != "ms"})
        for line in lines(out)
    )


def temporaries(out: Path) -> list[str]:
    """Return the names of the temporary files in OUT."""
    return [os.fspath(path.relative_to(out)) for path in out.rglob(TEMPORARY)]
