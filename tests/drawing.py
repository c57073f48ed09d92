"""Shapes and networks whose right answer is known without training."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from foveate.runtime.spec import GREY, CascadeSpec, Normalisation, Region, Size, channel_count
from foveate.train.networks.unet import UNet

SEPARATE_SIZES = ((512, 512), (1024, 1024), (2048, 1536), (950, 2700))
ODD_SIZES = ((513, 1531), (31, 2000), (1, 500), (7, 7))


def ellipse(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a filled ellipse of 0 and 1, off the centre, three tenths of each side."""
    mask = np.zeros((height, width), np.uint8)
    centre, axes = (int(0.45 * width), int(0.55 * height)), (int(0.3 * width), int(0.3 * height))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    return mask


def speckled(seed: int, share: float) -> npt.NDArray[np.uint8]:
    """Return a small mask of two classes at random: single pixels, holes, corners that touch."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 24, 2)
    foreground = rng.random(shape) < share
    return np.asarray(foreground * (1 + (rng.random(shape) < 0.2)), np.uint8)


def threshold_network(
    inputs: int, gain: float = 20.0, outputs: int = 1, channel: int = 0
) -> nn.Conv2d:
    """Return a 1 x 1 convolution whose sigmoid is a threshold of a channel at half the scale."""
    network = nn.Conv2d(inputs, outputs, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[:, channel] = gain
        network.bias.fill_(-gain / 2)
    return network.eval()


def in_channels(shape: npt.NDArray[np.uint8], channels: str, seen: int) -> npt.NDArray[np.uint8]:
    """Return a shape as an image of 0 and 1: in one channel of noise, or grey as it is."""
    count = channel_count(channels)
    if count == 1:
        return shape
    image = np.random.default_rng(0).integers(0, 2, (*shape.shape, count), dtype=np.uint8)
    image[..., seen] = shape
    return image


def threshold_spec(input_type: str = "uint8", channels: str = GREY) -> CascadeSpec:
    """Return a cascade of 256 x 256 stages that takes pixel values as they are."""
    return CascadeSpec(
        input_type=input_type,
        stage1=Size(256, 256),
        stage2=Size(256, 256),
        classes=("background", "shape"),
        normalisation=Normalisation("constants", 0.0, 1.0),
        channels=channels,
    )


def tiled(spec: CascadeSpec, tiles: int, overlap: float) -> CascadeSpec:
    """Return a cascade that looks at tiles instead of a box; 0 tiles are all of them."""
    region = replace(spec.region, mode="tiles", tiles=tiles, overlap=overlap)
    changed = replace(spec, region=region)
    changed.check()
    return changed


def small_spec(
    input_type: str = "uint8",
    classes: int = 1,
    single: bool = False,
    mode: str = "zscore",
    channels: str = GREY,
) -> CascadeSpec:
    """Return a cascade of small stages, 48 x 64 and 64 x 32."""
    return CascadeSpec(
        input_type=input_type,
        stage1=Size(48, 64),
        stage2=None if single else Size(64, 32),
        classes=("background", *(f"class {label}" for label in range(1, classes + 1))),
        normalisation=Normalisation(mode, 0.4, 0.2),
        region=Region("none" if single else "box", 0.5, 0.15, 32, 32),
        channels=channels,
    )


def random_network(inputs: int, outputs: int, seed: int) -> UNet:
    """Return a small U-Net with random weights and BatchNorm statistics, in evaluation mode.

    Its logits are centred on noise, so that every class wins somewhere.
    """
    torch.manual_seed(seed)
    network = UNet(inputs, outputs, 4, 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    network.eval()
    with torch.no_grad():
        network.head.bias -= network(torch.randn(1, inputs, 64, 64)).mean(dim=(0, 2, 3))
    return network
