"""The networks of both stages, of the kinds chosen."""

from __future__ import annotations

from foveate.runtime.spec import CascadeSpec
from foveate.train.networks.base import Network
from foveate.train.networks.unet import UNet
from foveate.train.settings.network_choice import UNETS, NetworkChoice, Networks


def networks(spec: CascadeSpec, choices: Networks) -> tuple[Network, Network | None]:
    """Return networks of random weights; stage 2 takes the image and, last, stage 1's hint.

    EngineError when an encoder is chosen and the extra that has it is not installed.
    """
    inputs, outputs = spec.input_channels, spec.output_channels
    stage1 = network(choices.stage1, inputs, outputs)
    return stage1, None if spec.stage2 is None else network(choices.stage2, inputs + 1, outputs)


def network(choice: NetworkChoice, inputs: int, outputs: int) -> Network:
    """Return one fresh network."""
    if choice.name in UNETS:
        return UNet(inputs, outputs, choice.width, choice.depth, choice.name)
    from foveate.train.networks.encoders import EncoderUNet

    return EncoderUNet(choice, inputs, outputs)
