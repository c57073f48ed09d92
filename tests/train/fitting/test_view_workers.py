"""The processes that compute views, where shared memory is small or they are not forked."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from foveate.train.data.pixel_file import PixelFile
from foveate.train.fitting import view_workers
from foveate.train.fitting.view_workers import worker_count
from tests.conftest import train


def test_workers_need_shared_memory_for_their_batches(tmp_path: Path) -> None:
    assert worker_count(1, 1000, str(tmp_path)) == (1, "")
    assert worker_count(0, 1 << 60, str(tmp_path)) == (0, "")
    count, note = worker_count(2, 1 << 60, str(tmp_path))
    assert count == 0 and "num_workers=2" in note and "--shm-size" in note
    assert worker_count(1, 1000, str(tmp_path / "none"))[0] == 0


@pytest.mark.usefixtures("short_epochs")
def test_training_without_shared_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_workers, "_free_bytes", lambda folder: 4096)
    more = ("num_workers=1", "num_epochs=1", "width=2")
    words = [word for setting in more for word in ("--set", setting)]
    result = train(data, tmp_path / "run", "--stages", "single", *words)
    assert result.exception is None, result.exception
    assert result.output.count("has 0.0 MB free and the batches of num_workers=1 take") == 1


def test_images_on_disk_are_read_by_a_spawned_process(tmp_path: Path) -> None:
    file = PixelFile(tmp_path, 100)
    file.add("a", np.arange(6, dtype=np.uint16).reshape(2, 3))
    process = multiprocessing.get_context("spawn").Process(
        target=exec,
        args=("assert file.get('a').tolist() == [[0, 1, 2], [3, 4, 5]]", {"file": file}),
    )
    process.start()
    process.join()
    assert process.exitcode == 0
