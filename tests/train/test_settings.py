"""Settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.runtime.errors import SettingsError
from foveate.train.settings.settings import Settings, load_settings


def test_assignments_go_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("width = 8\nbatch_size = 2\n")
    settings = load_settings(config, ["batch_size=3", "rotate_degrees=5"])
    assert (settings.width, settings.batch_size, settings.rotate_degrees) == (8, 3, 5.0)
    assert settings.depth == Settings().depth


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("width=0", "width is 0; expected 1 to 256"),
        ("normalisation=minmax", "Expected one of zscore, constants"),
        ("width", "expected key=value"),
    ],
)
def test_a_wrong_value_is_named(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(None, [assignment])


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("width = = 8")
    with pytest.raises(SettingsError, match=r"c\.toml: not valid TOML"):
        load_settings(config, [])
