"""Where the bounds of networks come from: a case that is measured, one that passes its bound."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from foveate.benchmarks.network_memory import cases, judged, measured


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_case_is_measured_and_stays_within_its_bound(tmp_path: Path) -> None:
    row = measured(tmp_path, ("residual", 6, 2, (128, 128), 2))
    assert row[:5] == ["residual", 6, 2, "128x128", 2]
    one, share, three, share_of_three = row[5:]
    assert 4 < one < 20 and 2 * one < three < 4 * one
    assert 0.3 < share <= 1 and 0.3 < share_of_three <= 1


def test_what_passes_its_bound_is_said() -> None:
    within, beyond = ["unet", 8, 3, "64x64", 1, 2.0, 0.8, 6.0, 0.7], ["unet", 9, 3, "64x64", 1]
    facts, broken = judged([within, [*beyond, 2.0, 0.9, 8.0, 1.01]])
    assert facts["share of the bound, unet"] == [0.7, 1.01]
    assert len(broken) == 1 and "'unet', 9" in broken[0]
    assert {name for name, *_ in cases()} == {"unet", "residual", "attention", "residual_attention"}
