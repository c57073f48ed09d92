"""One bad input: how to make it, and what a user is told. ``docs/errors.md`` quotes ``said``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Place:
    """Sound things to spoil, and an empty folder to do it in."""

    folder: Path
    data: Path
    run: Path
    bundle: Path
    patch: pytest.MonkeyPatch

    def copy(self, source: Path) -> Path:
        """Return a copy of a folder, free to be spoilt."""
        return Path(shutil.copytree(source, self.folder / f"copy-{source.name}"))

    def image(self) -> Path:
        """Return a sound image."""
        return sorted((self.data / "images").iterdir())[0]


@dataclass(frozen=True)
class Case:
    """``make`` spoils something and returns the command line; … in ``said`` stands for any text.

    ``slow``: a case of seconds, for ``make test-all``.
    """

    given: str
    said: str
    code: int
    make: Callable[[Place], list[object]]
    slow: bool = False

    def matches(self, output: str) -> bool:
        return fits(self.said, output)


def fits(said: str, output: str) -> bool:
    """Say whether an output has what is said in it; … stands for any text of one line."""
    pattern = ".*".join(re.escape(part) for part in said.split("…"))
    return re.search(pattern, output) is not None
