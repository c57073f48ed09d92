"""The encoders that are timed against each other write the same pixels."""

from __future__ import annotations

from foveate.benchmarks.mask_encoders import BINARY, CLASSES, SIZES, report


def test_every_encoder_is_checked_and_timed() -> None:
    lines = list(report(rounds=1))
    assert len(lines) == len(SIZES) * 2 * len({**BINARY, **CLASSES})
    assert all(" ms " in line for line in lines)
