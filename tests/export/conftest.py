"""A run of one network, which several tests export."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.train.fitting import steps
from tests.conftest import train


@pytest.fixture(scope="session")
def single(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "EPOCH_BATCHES", 8)
        result = train(data, folder, "--stages", "single", "--set", "num_epochs=4")
    assert result.exception is None, result.output
    return folder
