"""A process watched from outside while it runs: its images, memory, threads and files."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil

from foveate.runtime.segment.journal import RESULTS
from tests.soak.folders import spot

SIDE, DISTINCT, SEED = 128, 500, 3
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
