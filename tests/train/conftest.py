"""Trainings too short to learn anything, for tests of what surrounds the steps."""

from __future__ import annotations

import pytest

from foveate.train.fitting import steps


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an epoch every training image once, and not 32 batches."""
    monkeypatch.setattr(steps, "EPOCH_BATCHES", 1)
