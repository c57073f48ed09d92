"""A process with a limit: what crashes, hangs or leaves something running costs itself alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from foveate.benchmarks.scripts.gpu_steps import END_S, run_limited


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print('half way')", "passed", "half way"),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "failed with 3", "why"),
        ("import os; os.kill(os.getpid(), 11)", "failed with -11", ""),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "passed", "\ufffd"),
    ],
)
def test_what_it_came_to_and_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, status: str, said: str
) -> None:
    assert run(tmp_path, monkeypatch, code, 30) == (status, said)


def test_one_that_hangs_is_interrupted_and_then_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    ends = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: print('the XML')"
    )
    assert run(tmp_path, monkeypatch, ends, 3) == ("stopped after 3 s", "the XML")
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    assert run(tmp_path, monkeypatch, deaf, 1) == ("stopped after 1 s", "")
    assert time.monotonic() - started < 30


def test_what_it_leaves_running_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, pathlib; p = subprocess.Popen(['sleep', '60']); "
        f"pathlib.Path({str(child)!r}).write_text(str(p.pid))"
    )
    assert run(tmp_path, monkeypatch, code, 30)[0] == "passed"
    state, started = Path(f"/proc/{child.read_text()}/stat"), time.monotonic()
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() - started < 30
        time.sleep(0.01)


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, limit_s: float
) -> tuple[str, str]:
    """Run code as a module; the new process finds it by PYTHONPATH."""
    (tmp_path / "a_module_of_this_test.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    status, said, seconds = run_limited(["a_module_of_this_test"], limit_s)
    assert 0 <= seconds <= limit_s + END_S + 1
    return status, said.strip()
