"""The networks of both stages, of the kind chosen."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from foveate.runtime.spec import CascadeSpec
from foveate.train.networks.base import Network
from foveate.train.networks.unet import UNet
from foveate.train.settings.network_choice import UNETS, NetworkChoice
from foveate.train.settings.settings import Settings


def networks(spec: CascadeSpec, choice: NetworkChoice) -> tuple[Network, Network | None]:
    """Return networks of random weights; stage 2 takes the image and stage 1's hint.

    EngineError when an encoder is chosen and the extra that has it is not installed.
    """
    stage1 = network(choice, 1, spec.channels)
    return stage1, None if spec.stage2 is None else network(choice, 2, spec.channels)


def load_encoder(stage1: nn.Module, settings: Settings) -> None:
    """Put the weights that ``encoder_weights`` names into a network's encoder.

    SettingsError says what is wrong with a file.
    """
    from foveate.train.networks.encoders import EncoderUNet, load_encoder_file, load_imagenet

    assert isinstance(stage1, EncoderUNet)
    if settings.encoder_weights == "imagenet":
        load_imagenet(stage1, settings.network_choice)
    else:
        load_encoder_file(stage1, settings.network_choice, Path(settings.encoder_weights))


def network(choice: NetworkChoice, inputs: int, outputs: int) -> Network:
    """Return one fresh network."""
    if choice.name in UNETS:
        return UNet(inputs, outputs, choice.width, choice.depth, choice.name)
    from foveate.train.networks.encoders import EncoderUNet

    return EncoderUNet(choice, inputs, outputs)
