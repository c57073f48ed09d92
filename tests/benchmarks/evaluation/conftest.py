"""One evaluation of a bundle and a single network, whose files several tests read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import run, train

NASTY = "<img src=x onerror=alert(1)>{{machine}}"


@pytest.fixture(scope="package")
def single(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single") / "one"
    more = ("--set", "num_epochs=1", "--set", "class_names=lesion", "--stages", "single")
    result = train(data, folder, *more)
    assert result.exception is None, result.output
    return folder


@pytest.fixture(scope="package")
def nasty_data(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve images in a folder whose name, and one file's, is markup."""
    root = tmp_path_factory.mktemp("nasty") / "a & b"
    shutil.copytree(data, root)
    stem = sorted(path.stem for path in (root / "images").iterdir())[0]
    for folder in ("images", "masks"):
        (root / folder / f"{stem}.png").rename(root / folder / f"{NASTY}.png")
    return root


@pytest.fixture(scope="package")
def written(
    bundle: Path, single: Path, nasty_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Return the folder of an evaluation and what it printed."""
    out = tmp_path_factory.mktemp("written") / "deep" / "out"
    result = run("evaluate", bundle, nasty_data, "--single", single, "--out", out)
    assert result.exception is None, result.exception
    return out, result.output
