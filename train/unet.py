"""The U-Net of both stages (Ronneberger, Fischer, Brox 2015), with batch normalisation.

Convolutions are padded, so input and output have one size; BatchNorm is folded away at export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Return conv 3x3, norm, ReLU, twice."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Logits of every pixel: (N, inputs, h, w) -> (N, outputs, h, w).

    ``width`` is the number of channels at full size; each of the ``depth`` levels below halves
    the size and doubles the channels. h and w must be multiples of ``2 ** depth``.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.inputs, self.outputs, self.width, self.depth = inputs, outputs, width, depth
        self.encoder = nn.ModuleList(
            double_convolution(before, after)
            for before, after in zip([inputs, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[level + 1], channels[level], 2, stride=2)
            for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            double_convolution(2 * channels[level], channels[level]) for level in range(depth)
        )
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(self.depth)):
            x = self.decoder[level](torch.cat([skips[level], self.up[level](x)], dim=1))
        logits: Tensor = self.head(x)
        return logits

    def start_from(self, other: UNet) -> None:
        """Take the weights of a trained network with fewer inputs; the inputs it lacks weigh 0.

        Until trained further, the output is the other network's for the inputs they share. Both
        must have the same width, depth and outputs.
        """
        state = dict(other.state_dict())
        first = "encoder.0.0.weight"
        widened = torch.zeros_like(self.get_parameter(first))
        widened[:, : other.inputs] = state[first]
        self.load_state_dict({**state, first: widened})
