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
        ("stage2_network=resnet19", "there is no stage2_network .* the nearest is .resnet18"),
        ("image_height=112 stage2_depth=5", r"crop_height is 112; .* 2\*\*stage2_depth = 32"),
        ("stage2_network=resnet18 stage2_depth=6", "stage 2: network resnet18 with depth 6; exp"),
        ("stage2_network=resnet18 encoder_weights=imagenet", "there are none of unet or resnet18"),
    ],
)
def test_a_wrong_value_is_named(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(None, assignment.split())


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("width = = 8")
    with pytest.raises(SettingsError, match=r"c\.toml: not valid TOML"):
        load_settings(config, [])
