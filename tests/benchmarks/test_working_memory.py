"""Where the figures of memory budgets come from: a call's own bytes, and a line for each size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.working_memory import taken_bytes

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_what_work_takes_at_most_is_seen_and_its_caller_s_is_not() -> None:
    def work() -> None:
        np.full(60_000_000, 7, np.uint8).sum()

    assert 55e6 < taken_bytes(work, 0) < 80e6
    assert 35e6 < taken_bytes(work, 20_000_000) < 60e6


@linux
def test_every_size_has_a_line(thresholds: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foveate.benchmarks.working_memory", str(thresholds)]
        + ["--size", "1x1000x1000", "--size", "2x900x800", "--random", "5", "--side", "800"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["call"] for line in lines] == [
        "1x1000x1000", "2x900x800", "5 random sizes, 1 threads",
    ]  # fmt: skip
    assert 5 < lines[0]["mb"] < 40 and 5 < lines[0]["bytes_a_pixel"] < 40
