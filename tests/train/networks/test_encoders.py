"""Encoders: their weights come from a file, which must be theirs, and every layer learns."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foveate.runtime.errors import SettingsError
from foveate.train.networks.encoders import (
    EncoderUNet,
    colour_encoders,
    load_encoder,
    models,
)
from foveate.train.settings.network_choice import ENCODERS, IMAGENET, NetworkChoice

CHOICE = NetworkChoice("resnet18", 4, 3)


def published() -> dict[str, torch.Tensor]:
    """Return a state dict for colour images, with the classifier that files of others have."""
    torch.manual_seed(7)
    state = dict(models().encoders.get_encoder("resnet18", weights=None).state_dict())
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_a_file_are_in_the_network_their_colours_added_up(
    tmp_path: Path, suffix: str
) -> None:
    path, state = tmp_path / f"encoder.{suffix}", published()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    network = EncoderUNet(CHOICE, 1, 1)
    load_encoder(network, colour_encoders([CHOICE], str(path))[CHOICE], "grey")
    found = network.encoder.state_dict()
    torch.testing.assert_close(found["conv1.weight"][:, 0], state["conv1.weight"].sum(dim=1))
    torch.testing.assert_close(found["layer2.1.conv2.weight"], state["layer2.1.conv2.weight"])


@pytest.mark.parametrize(("channels", "inputs"), [("rgb", 3), ("rgb", 4), ("4", 4), ("4", 5)])
def test_colours_keep_their_weights_and_other_channels_share_them(
    tmp_path: Path, channels: str, inputs: int
) -> None:
    save_file(published(), tmp_path / "w.safetensors")
    network = EncoderUNet(CHOICE, inputs, 1)
    encoder = colour_encoders([CHOICE], str(tmp_path / "w.safetensors"))[CHOICE]
    load_encoder(network, encoder, channels)
    first, stem = network.encoder.state_dict()["conv1.weight"], published()["conv1.weight"]
    expected = stem if channels == "rgb" else stem.sum(dim=1, keepdim=True).repeat(1, 4, 1, 1) / 4
    torch.testing.assert_close(first[:, : expected.shape[1]], expected)
    assert not first[:, expected.shape[1] :].any(), "the hint begins without influence"


def test_a_file_that_is_not_theirs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(SettingsError, match=r"encoder_weights .*w.safetensors: cannot be read"):
        colour_encoders([CHOICE], str(path))
    save_file({"conv1.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(SettingsError, match=r"not those of resnet18: .*Missing key"):
        colour_encoders([CHOICE], str(path))
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(SettingsError, match="holds no state dict"):
        colour_encoders([CHOICE], str(tmp_path / "w.pth"))
    torch.save(print, tmp_path / "code.pth")
    with pytest.raises(SettingsError, match="cannot be read"):
        colour_encoders([CHOICE], str(tmp_path / "code.pth"))


def test_a_file_goes_to_the_stage_whose_encoder_it_fits(tmp_path: Path) -> None:
    path, other = tmp_path / "w.safetensors", NetworkChoice("mobilenet_v2", 4, 3)
    save_file(published(), path)
    for pair in ((CHOICE, other), (other, CHOICE), (NetworkChoice("unet", 4, 2), CHOICE)):
        assert list(colour_encoders(pair, str(path))) == [CHOICE]


def test_imagenet_weights_are_those_of_the_package_in_every_layer() -> None:
    """The published names differ from the encoder's; the order and the shapes are the same.

    The first and last tensors are named here. Through this mapping the whole network has the
    published top class on photographs: espresso, Egyptian cat, daisy, palace, moped.
    """
    choice = NetworkChoice("efficientnet_lite0", 8, 5)
    network = EncoderUNet(choice, 2, 1)
    load_encoder(network, colour_encoders([choice], "imagenet")[choice], "grey")
    package, name = IMAGENET[choice.name]
    with as_file(files(package) / "models" / name) as path:
        published = torch.load(path, weights_only=True)
    found = network.encoder.state_dict()
    stem = published["_conv_stem.weight"]
    torch.testing.assert_close(found["model.conv_stem.weight"][:, 0], stem.sum(dim=1))
    assert not found["model.conv_stem.weight"][:, 1].any(), "the hint begins without influence"
    pairs = {
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.6.0.bn3.running_var": "_blocks.15._bn2.running_var",
    }
    for own, theirs in pairs.items():
        torch.testing.assert_close(found[f"model.{own}"], published[theirs])


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_learns_at_every_depth(name: str) -> None:
    for depth in (3, 5) if name in ("resnet18", "mobilenet_v2") else (4,):
        network = EncoderUNet(NetworkChoice(name, 4, depth), 2, 3)
        side = 4 * network.multiple
        logits = network(torch.randn(2, 2, side, side))
        assert logits.shape == (2, 3, side, side)
        logits.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
