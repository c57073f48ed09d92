"""Two processes, with the variables that torchrun sets, train one run together."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from foveate.runtime.errors import SettingsError
from foveate.train.fitting.distributed import join
from foveate.train.runs.run import load_run, read_run
from tests.conftest import train
from tests.train.forked import start


@pytest.mark.usefixtures("short_epochs")
def test_two_processes_train_one_run(data: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def work(rank: int) -> None:
        said = train(data, tmp_path / "r", "--set", "num_epochs=2", "--set", "hint_folds=0")
        assert said.exception is None, said.exception
        (tmp_path / f"{rank}.txt").write_text(said.output)

    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [start(lambda rank=rank: work(rank), RANK=str(rank), **shared) for rank in (0, 1)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [
        (tmp_path / f"{rank}.txt").read_text().count("Stage 2 Epoch [2/2]") for rank in (0, 1)
    ] == [1, 0]
    curve = read_run(tmp_path / "r")["stages"]["stage1"]["curve"]
    assert len(curve) == 2 and curve[1]["loss"] < curve[0]["loss"]
    assert load_run(tmp_path / "r")[0].stage2 is not None


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SettingsError, match="batch_size is 8; expected a multiple of the 3 proc"):
        join("cpu", 8)
