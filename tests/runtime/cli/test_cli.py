"""The command as a whole: help, examples, exit codes, one-line errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foveate.cli import COMMANDS, main
from tests.conftest import run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exception is None, result.exception
    assert "Example:" in result.output and f"foveate {name}" in result.output


@pytest.mark.parametrize("name", ["show", "verify", "pack", "keys", "sign", "verify-signature"])
def test_every_command_of_bundle_has_help_with_an_example(name: str) -> None:
    assert f" {name} " in run("bundle", "--help").output
    output = run("bundle", name, "--help").output
    assert "Example:" in output and f"foveate bundle {name} " in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["segment", "none.bundle", "a.png", "--out", "out"], "none.bundle: no such bundle"),
        (["segment", "a\n\x1b[2J", "a.png", "--out", "out"], "a\\n\\x1b[2J"),
        (["demo", "--colour"], "--colour"),
        (["segmnt"], "segmnt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["foveate", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    *_, last = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and last.startswith("Error: ") and said in last


def test_the_module_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "foveate", "segmnt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "segmnt" in done.stderr
