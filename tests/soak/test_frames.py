"""Frames through a stream, two thousand or a million, and what breaks their bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.soak import FULL
from tests.soak.frames import BARE, FRAMES, SETTLED, Seen, judged, opened, submitted

COUNT = SETTLED + 3 * FRAMES
STILL = [(4, 9)] * 10


def seen(frame_ms: float = 1.0, late_ms: float = 1.0, resident: int = 100) -> Seen:
    """A run whose fiftieth frame is late, beside an even bare engine."""
    times = np.full(2 * SETTLED, frame_ms)
    times[::50] = late_ms
    return Seen(times, np.ones(500), [100, 101, resident])


@pytest.mark.soak
def test_frames_are_submitted_and_compared_and_nothing_is_left(thresholds: Path) -> None:
    count, times = (1_000_000, 1000) if FULL else (COUNT, 8)
    found, kept = submitted(thresholds, count), opened(thresholds, times)
    assert len(found.frame_ms) == count and len(found.bare_ms) == count // FRAMES * BARE
    assert np.all(found.frame_ms > 0) and np.all(found.bare_ms > 0)
    assert found.wrong_masks == 0 and len(found.resident) >= 2
    figures, broken = judged(found, kept)
    print(f"frames: {figures}")
    assert len(set(kept[2:])) == 1
    assert not FULL or not broken, broken


def test_what_breaks_a_bar_is_said() -> None:
    assert judged(seen(), STILL)[1] == []
    assert judged(seen(frame_ms=3.0, late_ms=3.3), STILL)[1] == []
    assert "p99/p50 is 1.30" in judged(seen(late_ms=1.3), STILL)[1][0]
    assert "resident size grew by 3.00%" in judged(seen(resident=103), STILL)[1][0]
    assert "open files grew" in judged(seen(), [*STILL, (4, 10)])[1][0]
    assert "open files grew" in judged(seen(), [*STILL, (5, 9)])[1][0]
    switching = seen()
    switching.bare_ms[::BARE] = 2.0
    assert judged(switching, STILL)[0]["bare engine, by turns"]["p99/p50"] == 1.0
    wrong = seen()
    wrong.wrong_masks = 2
    assert "2 masks" in judged(wrong, STILL)[1][0]
