"""The command as a whole: help, examples, exit codes, one-line errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foveate.cli import COMMANDS
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


def foveate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foveate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = foveate("segment", tmp_path / "none.bundle", "a.png", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


def test_an_unknown_option_is_exit_code_2() -> None:
    done = foveate("demo", "--colour")
    assert done.returncode == 2 and "--colour" in done.stderr


def test_an_unknown_command_is_exit_code_2() -> None:
    assert foveate("segmnt").returncode == 2


def test_a_name_cannot_command_the_terminal(tmp_path: Path) -> None:
    done = foveate(
        "segment", "x.bundle", tmp_path / "line\nbreak\x1b[2J", "--out", tmp_path / "out"
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "line\\nbreak\\x1b[2J" in done.stderr
