"""Trainings of colour images, in every mode, and what they may begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foveate.runtime.errors import SettingsError
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.networks.encoders import colour_encoders
from foveate.train.runs.run import load_run, load_tensors, read_run
from foveate.train.settings.network_choice import NetworkChoice
from tests.conftest import train


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coloured")
    list(write_phantoms(root, PhantomSettings(12, 160, seed=3, channels="rgb")))
    return root


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(
    "more",
    [
        ("normalisation=imagenet",),
        ("region_mode=tiles", "normalisation=constants"),
        ("single_input=full",),
    ],
)
def test_networks_see_all_channels(coloured: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    settings = ["channels=rgb", "num_epochs=1", *more]
    stages = ["--stages", "single"] if "single_input=full" in more else []
    arguments = [item for value in settings for item in ("--set", value)]
    result = train(coloured, tmp_path / "run", *arguments, *stages)
    assert result.exception is None, result.exception
    assert "the bundle will take uint16, channels rgb" in result.output
    assert "are in colour" not in result.output
    assert read_run(tmp_path / "run")["spec"]["channels"] == "rgb"
    found = {path.stem: load_tensors(path) for path in (tmp_path / "run").glob("*.safetensors")}
    inputs = {name: tensors["encoder.0.0.weight"].shape[1] for name, tensors in found.items()}
    assert inputs == ({"stage1": 3} if stages else {"stage1": 3, "stage2": 4})
    cascade, _ = load_run(tmp_path / "run")
    pixels = next(iter(write_phantoms(tmp_path / "one", PhantomSettings(1, 128, channels="rgb"))))
    assert cascade.segment(pixels.image)[0].shape == (128, 128)


@pytest.mark.usefixtures("short_epochs")
def test_colours_begin_with_the_published_weights_of_all_three(
    coloured: Path, tmp_path: Path
) -> None:
    values = ["channels=rgb", "network=efficientnet_lite0", "encoder_weights=imagenet", "depth=3"]
    values += ["stage2_width=8", "num_epochs=1", "hint_folds=0", "learning_rate=1e-7"]
    arguments = [item for value in values for item in ("--set", value)]
    result = train(coloured, tmp_path / "run", *arguments)
    assert result.exception is None, result.exception
    choice = NetworkChoice("efficientnet_lite0", 4, 3)
    published = colour_encoders([choice], "imagenet")[choice].state_dict()
    stem = "model.conv_stem.weight"
    for name in ("stage1", "stage2"):  # of other widths, so that neither begins with the other
        found = load_tensors(tmp_path / "run" / f"{name}.safetensors")[f"encoder.{stem}"]
        torch.testing.assert_close(found[:, :3], published[stem], atol=1e-4, rtol=0)


@pytest.mark.usefixtures("short_epochs")
def test_a_colour_run_does_not_begin_with_a_grey_one(
    coloured: Path, trained: Path, tmp_path: Path
) -> None:
    result = train(coloured, tmp_path / "r", "--init", str(trained), "--set", "channels=rgb")
    assert isinstance(result.exception, SettingsError)
    assert "has other networks: channels grey -> rgb" in str(result.exception)


def test_a_grey_training_of_colours_says_so(coloured: Path, tmp_path: Path) -> None:
    said = train(coloured, tmp_path / "r", "--preview", str(tmp_path / "sheets")).output
    assert "are in colour; they are read as grey. channels=rgb keeps colours." in " ".join(
        said.split()
    )
