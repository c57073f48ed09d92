"""A training in a process of its own: no second one joins it, and signals end it in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from foveate.runtime.errors import SettingsError
from foveate.train.runs import job
from tests.conftest import TINY, train


def _with_interrupts() -> None:
    """Take interrupts, which a shell turns off for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_group_ends_a_training_in_words(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    monkeypatch.setattr(job, "ORPHANS_S", 0.1)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "foveate", "train", str(data), "--out", str(out)]
    for value in (*TINY, "num_workers=2", "num_epochs=1000", "hint_folds=0"):
        command += ["--set", value]
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_with_interrupts,
        ) as process,
    ):
        try:
            while not any(out.glob("last-*")):
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            more = ("--resume", "--set", "num_epochs=1000", "--set", "hint_folds=0")
            second = train(data, out, *more)
            os.killpg(process.pid, number)
            assert process.wait(60) == code
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert isinstance(second.exception, SettingsError)
    assert "another run is writing into" in str(second.exception)
    said = (tmp_path / "log").read_text()
    assert f"same command and --resume, --out {out}" in said and "Traceback" not in said
