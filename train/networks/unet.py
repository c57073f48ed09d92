"""The U-Net of both stages (Ronneberger, Fischer, Brox 2015), with batch normalisation.

Convolutions are padded, so input and output have one size; BatchNorm is folded away at export.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveate.train.networks.base import Network


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


def normed_1x1(inputs: int, outputs: int) -> nn.Sequential:
    """Return conv 1x1, norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class ResidualConvolution(nn.Module):
    """A double convolution next to a 1x1 projection of its input, added before the last ReLU.

    He et al. 2016; in a U-Net, Zhang et al. 2018 (ResUNet).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolutions = double_convolution(inputs, outputs)[:-1]
        self.projection = normed_1x1(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.projection(x))


class AttentionGate(nn.Module):
    """Weighs each pixel of a skip by what the level below makes of it (Oktay et al. 2018).

    (N, channels, h, w) of the skip and of the level below, already at the skip's size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.skip = normed_1x1(channels, inner)
        self.below = normed_1x1(channels, inner)
        self.weight = nn.Conv2d(inner, 1, 1)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        together = torch.relu(self.skip(skip) + self.below(below))
        return skip * torch.sigmoid(self.weight(together))


class UNet(Network):
    """Logits of every pixel: (N, inputs, h, w) -> (N, outputs, h, w).

    ``width`` is the number of channels at full size; each of the ``depth`` levels below halves
    the size and doubles the channels. h and w must be multiples of ``2 ** depth``. ``name`` is
    unet, residual (residual double convolutions), attention (gates on the skips) or
    residual_attention.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, name: str = "unet"
    ) -> None:
        super().__init__(inputs, 2**depth)
        channels = [width * 2**level for level in range(depth + 1)]
        block = ResidualConvolution if "residual" in name else double_convolution
        self.depth = depth
        self.encoder = nn.ModuleList(
            block(before, after)
            for before, after in zip([inputs, *channels], channels, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[level + 1], channels[level], 2, stride=2)
            for level in range(depth)
        )
        self.gate = nn.ModuleList(
            AttentionGate(channels[level]) for level in range(depth if "attention" in name else 0)
        )
        self.decoder = nn.ModuleList(
            block(2 * channels[level], channels[level]) for level in range(depth)
        )
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(self.depth)):
            x, skip = self.up[level](x), skips[level]
            if self.gate:
                skip = self.gate[level](skip, x)
            x = self.decoder[level](torch.cat([skip, x], dim=1))
        logits: Tensor = self.head(x)
        return logits
