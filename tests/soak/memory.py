"""Does the memory of a run stay flat? 50,000 small images, the process watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import psutil

from foveate.runtime.segment.journal import RESULTS
from tests.soak.folders import command, spot
from tests.soak.threshold_bundle import write_threshold_bundle
from tests.soak.verdict import conclude

SIDE, DISTINCT, SEED = 128, 500, 3
SETTLED = 2000
"""Images after which memory has to be flat."""
GROWTH = 0.02
POLL_S = 0.1


@dataclass(frozen=True)
class Sample:
    """A process at one moment: how many images it had done, and what it held."""

    images: int
    resident: int
    threads: int
    files: int


def watch(arguments: list[str], out: Path) -> tuple[list[Sample], int, str]:
    """Run a command; return samples of it, its exit code and its standard output."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    samples: list[Sample] = []
    counted = _Counter(out / RESULTS)
    while process.poll() is None:
        time.sleep(POLL_S)
        try:
            seen = psutil.Process(process.pid)
            with seen.oneshot():
                resident = int(seen.memory_info().rss)
                samples.append(
                    Sample(counted.lines(), resident, seen.num_threads(), seen.num_fds())
                )
        except psutil.Error:  # it has just ended
            continue
    said, _ = process.communicate()
    return [sample for sample in samples if sample.resident], process.returncode, said


class _Counter:
    """Counts the lines of a file that grows, reading each once."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._lines = path, 0, 0

    def lines(self) -> int:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._place)
                data = file.read()
            self._place += len(data)
            self._lines += data.count(b"\n")
        return self._lines


def growth(samples: list[Sample]) -> float:
    """Return by which share the resident size grew at most after the first images."""
    later = [sample.resident for sample in samples if sample.images >= SETTLED]
    return max(later) / later[0] - 1


def write_links(folder: Path, count: int) -> None:
    """Write so many files: names of their own, few contents, as hard links."""
    rng = np.random.default_rng(SEED)
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:06d}.png"
        if number < DISTINCT:
            cv2.imwrite(str(path), spot(SIDE, rng))
        else:
            os.link(folder / f"{number % DISTINCT:06d}.png", path)


def measured(folder: Path, count: int) -> tuple[dict[str, Any], list[str]]:
    """Segment so many images; return what was seen, and what broke."""
    bundle = write_threshold_bundle(folder / "threshold.bundle")
    write_links(folder / "in", count)
    started = time.monotonic()
    samples, code, said = watch(command(bundle, folder / "in", folder / "out"), folder / "out")
    seconds = time.monotonic() - started
    settled = [sample for sample in samples if sample.images >= SETTLED]
    found = {
        "images": count,
        "seconds": round(seconds, 1),
        "images a second, start-up included": round(count / seconds, 1),
        "resident MB after the first 2,000": round(settled[0].resident / 1e6, 2),
        "largest after that, MB": round(max(s.resident for s in settled) / 1e6, 2),
        "last, MB": round(settled[-1].resident / 1e6, 2),
        "growth": round(growth(samples), 5),
        "threads": sorted({sample.threads for sample in settled[:-5]}),
        "open files, most": max(sample.files for sample in settled),
        "every 5,000 images, MB": [
            round(next(s.resident for s in settled if s.images >= images) / 1e6, 1)
            for images in range(SETTLED, settled[-1].images, 5000)
        ],
        "said": said.replace(f"{folder}/", "").strip().splitlines(),
    }
    broken = [] if code == 0 else [f"exit code {code}"]
    if growth(samples) > GROWTH:
        broken.append(f"resident size grew by {growth(samples):.2%}; expected at most {GROWTH:.0%}")
    return found, broken


@click.command()
@click.option("--count", type=click.IntRange(SETTLED + 1), default=50_000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File of the result, JSON.")
def main(count: int, out: Path | None) -> None:
    """Segment many small images and watch the resident size."""
    with tempfile.TemporaryDirectory(prefix="foveate-soak-") as folder:
        found, broken = measured(Path(folder), count)
    sys.exit(conclude("memory", found, broken, out))


if __name__ == "__main__":
    main()
