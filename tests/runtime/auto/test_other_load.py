"""The load of other processes, which is not the run's doing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foveate.runtime.auto.other_load import OtherLoad, busy_seconds
from foveate.runtime.segment.stage_times import StageTimes

TIMES = """cpu  9 9 9 9 9 9 9 9 9 9
cpu0 100 20 30 5000 700 1 2 3 4 5
cpu1 1000 0 0 4000 0 0 0 0 0 0
cpu10 7 0 0 0 0 0 0 0 0 0
intr 1 2 3
"""


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no clock ticks on this system")
def test_busy_seconds_of_some_cores(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(TIMES)
    tick = os.sysconf("SC_CLK_TCK")
    assert busy_seconds({0}, tmp_path / "stat") == (100 + 20 + 30 + 1 + 2 + 3) / tick
    assert busy_seconds({1, 10}, tmp_path / "stat") == 1007 / tick
    assert busy_seconds({5}, tmp_path / "stat") is None
    assert busy_seconds({0}, tmp_path / "none") is None


class Others(OtherLoad):
    def __init__(self, held: float | None) -> None:
        self.held = held

    def cores(self) -> float | None:
        return self.held


@pytest.mark.parametrize(
    ("held", "ceiling", "share"), [(None, 40.0, 0.25), (1.0, 20.0, 0.5), (2.5, 10.0, 1.0)]
)
def test_the_ceiling_is_of_the_cores_that_others_leave(
    held: float | None, ceiling: float, share: float
) -> None:
    times = StageTimes(2, Others(held))
    times.add({"decode": 10.0, "engine": 30.0, "encode": 10.0})
    found = times.summary(images_per_second=10.0)
    assert found["ceiling_images_per_second"] == pytest.approx(ceiling)
    assert found["share_of_ceiling"] == pytest.approx(share)
    assert sum(found["utilisation"].values()) == pytest.approx(share)
    assert found["other_cores"] == held
