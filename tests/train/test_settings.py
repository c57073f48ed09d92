"""Settings: where they come from, and what is said of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foveate.runtime.errors import SettingsError
from foveate.train.settings.meanings import rows
from foveate.train.settings.settings import Settings, load_settings
from tests.conftest import run

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


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
        ("mask_instances=maybe", "mask_instances is 'maybe'; expected true or false"),
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


def test_every_setting_is_printed_and_stands_in_the_docs() -> None:
    said = " ".join(run("train", "--settings").output.split())
    names = [name for names, _, _ in rows() for name in names.split(", ")]
    assert names == list(Settings().as_dict())
    for name, default, meaning in rows():
        assert f"{name} = {default}" in said
        assert " ".join(re.split(r"-?\s+|-", meaning)) in " ".join(re.split(r"-?\s+|-", said))
    table = DOCS.read_text().partition("| setting | default | meaning |")[2].partition("\n\n")[0]
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", table).replace("`", "").splitlines()[2:]
    expected = [" | ".join(("", *row)).replace("`", "").strip() + " |" for row in rows()]
    assert plain == expected
