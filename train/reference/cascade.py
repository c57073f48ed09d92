"""The cascade in PyTorch: the reference that every engine is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveate.runtime.agreement import Mask
from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.tiles import tile_grid
from foveate.train.reference.geometry import (
    crop_box,
    find_box,
    pad_to_multiple,
    paste_box,
    whole_box,
)
from foveate.train.reference.tiles import (
    Tiles,
    blend_tiles,
    choose_tiles,
    crop_hints,
    crop_tiles,
    tile_boxes,
    tile_weights,
)

STD_FLOOR = 1e-4
"""Smallest deviation divided by, in units of the full scale: a flat image stays finite."""

LEAST_SHARE = 1e-6
"""Smallest weight of a foreground divided by: a pixel in a tile's corner may have 1e-5."""


@dataclass(frozen=True)
class Output:
    """What the graph returns, as tensors (see ``docs/architecture.md`` for shapes)."""

    mask: Tensor
    box: Tensor
    score: Tensor
    coarse: Tensor
    refined: Tensor
    stage1_input: Tensor
    stage2_input: Tensor | None


def planes(image: Tensor) -> Tensor:
    """Return (N, C, H, W) of (N, H, W) or (N, H, W, C) pixels."""
    return image[:, None] if image.ndim == 3 else image.permute(0, 3, 1, 2)


class TorchCascade(nn.Module):
    """Both stages and the geometry between them.

    ``forward`` takes (N, H, W) or (N, H, W, C) pixels as float32 in the unit of the files (0 to
    255 or 65535).
    """

    def __init__(self, spec: CascadeSpec, stage1: nn.Module, stage2: nn.Module | None) -> None:
        super().__init__()
        self.spec = spec
        self.stage1 = stage1
        self.stage2 = stage2

    def forward(self, image: Tensor) -> Output:
        image = planes(image)
        if self.spec.pad_multiple:
            return self._at_own_size(image)
        count, _, height, width = image.shape
        whole = whole_box(count, height, width)
        small = crop_box(image, whole, self.spec.stage1) / self.spec.full_scale
        mean, std = self.statistics(small)
        stage1_input = (small - mean) / std
        coarse = self.probabilities(self.stage1(stage1_input))
        if self.spec.stage2 is None or self.stage2 is None:
            pasted = paste_box(coarse, whole, height, width)
            return Output(
                self.decide(pasted), whole[:, None], self.score(coarse), coarse, coarse,
                stage1_input, None,
            )  # fmt: skip
        foreground = self.foreground(coarse)
        if self.spec.region.mode == "tiles":
            return self._in_tiles(image, (mean, std), stage1_input, coarse)
        box = find_box(foreground, height, width, self.spec.region, self.spec.stage2)
        crop = crop_box(image, box, self.spec.stage2) / self.spec.full_scale
        scale = torch.tensor([foreground.shape[2] / width, foreground.shape[1] / height])
        hint = crop_box(foreground, box * scale.repeat(2), self.spec.stage2)
        stage2_input = torch.cat([(crop - mean) / std, hint[:, None]], dim=1)
        refined = self.probabilities(self.stage2(stage2_input))
        pasted = paste_box(refined, box, height, width)
        return Output(
            self.decide(pasted), box[:, None], self.score(refined), coarse, refined,
            stage1_input, stage2_input,
        )  # fmt: skip

    @torch.inference_mode()
    def run(self, image: Pixels) -> Output:
        """Return the output for one (H, W) or (H, W, C) uint8 or uint16 image."""
        pixels = as_input_type(image, *self.spec.input_kind).astype(np.float32)
        output: Output = self(torch.from_numpy(pixels)[None])
        return output

    def segment(self, image: Pixels) -> tuple[Mask, npt.NDArray[np.float32]]:
        """Return mask (H, W) uint8 and boxes (R, 4) float32 of one image, as for ``run``."""
        output = self.run(image)
        return output.mask[0].numpy(), output.box[0].numpy()

    def _at_own_size(self, image: Tensor) -> Output:
        """Return the output of a one-stage network that sees the image as large as it is."""
        count, _, height, width = image.shape
        pixels = image / self.spec.full_scale
        mean, std = self.statistics(pixels)
        stage1_input = pad_to_multiple((pixels - mean) / std, self.spec.pad_multiple)
        logits = self.stage1(stage1_input)[:, :, :height, :width]
        coarse = self.probabilities(logits)
        return Output(
            self.decide(coarse), whole_box(count, height, width)[:, None], self.score(coarse),
            coarse, coarse, stage1_input, None,
        )  # fmt: skip

    def _in_tiles(
        self, image: Tensor, normal: tuple[Tensor, Tensor], stage1_input: Tensor, coarse: Tensor
    ) -> Output:
        """Return the output of a cascade whose stage 2 looks at tiles."""
        spec = self.spec
        assert spec.stage2 is not None and self.stage2 is not None
        grid, (height, width) = tile_grid(spec.region, spec.stage2), image.shape[2:]
        foreground = self.foreground(coarse)
        tiles = choose_tiles(foreground, grid, height, width, spec.region.tiles)
        seen = self.seen_in_tiles(image, normal, foreground, tiles)
        stage2_input = seen.flatten(0, 1)
        refined = self.probabilities(self.stage2(stage2_input))
        each = refined.reshape(*seen.shape[:2], *refined.shape[1:])
        mask = self.decide_blended(blend_tiles(self.votes(each), tiles))
        score = self.score_tiles(refined, tiles)
        return Output(mask, tile_boxes(tiles), score, coarse, refined, stage1_input, stage2_input)

    def seen_in_tiles(
        self, image: Tensor, normal: tuple[Tensor, Tensor], foreground: Tensor, tiles: Tiles
    ) -> Tensor:
        """Return (N, R, C + 1, h2, w2), what stage 2 sees in tiles: the image and the hint."""
        mean, std = (part[:, None] for part in normal)
        crop = (crop_tiles(image, tiles) / self.spec.full_scale - mean) / std
        return torch.cat([crop, crop_hints(foreground, tiles)[:, :, None]], dim=2)

    def votes(self, probability: Tensor) -> Tensor:
        """Return what tiles are blended by: (N, R, C, h2, w2), over the threshold when binary."""
        return probability - self.spec.mask_threshold if self.spec.binary else probability

    def decide_blended(self, votes: Tensor) -> Tensor:
        """Return (N, H, W) uint8 class indices of (N, C, H, W) blended votes."""
        label = votes[:, 0] > 0 if self.spec.binary else votes.argmax(dim=1)
        return label.to(torch.uint8)

    def statistics(self, small: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation to normalise by, (N, C, 1, 1), from (N, C, h, w) in [0, 1]."""
        known = self.spec.normalisation.constants(small.shape[1])
        if known:
            mean, std = (torch.tensor(part).reshape(1, -1, 1, 1) for part in known)
            return mean.repeat(len(small), 1, 1, 1), std.repeat(len(small), 1, 1, 1)
        mean = small.mean(dim=(2, 3), keepdim=True)
        variance = (small - mean).square().mean(dim=(2, 3), keepdim=True)
        return mean, variance.sqrt().clamp(min=STD_FLOOR)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return float32 probabilities of (N, C, h, w) logits."""
        logits = logits.float()
        return torch.sigmoid(logits) if self.spec.binary else torch.softmax(logits, dim=1)

    def foreground(self, probability: Tensor) -> Tensor:
        """Return (N, h, w), the probability of any foreground class."""
        return probability[:, 0] if self.spec.binary else 1 - probability[:, 0]

    def decide(self, probability: Tensor) -> Tensor:
        """Return (N, H, W) uint8 class indices of (N, C, H, W) probabilities."""
        if self.spec.binary:
            return (probability[:, 0] > self.spec.mask_threshold).to(torch.uint8)
        return probability.argmax(dim=1).to(torch.uint8)

    def score(self, probability: Tensor) -> Tensor:
        """Return (N,), the mean winning probability over the foreground; 0 where there is none."""
        winning, chosen = self._winning(probability)
        total = (winning * chosen).sum(dim=(1, 2))
        return total / chosen.sum(dim=(1, 2)).clamp(min=1)

    def score_tiles(self, probability: Tensor, tiles: Tiles) -> Tensor:
        """Return (N,), the same of (N * R, C, h2, w2), pixels counted by their tiles' windows."""
        winning, chosen = self._winning(probability)
        weights = tile_weights(tiles)
        chosen = chosen.reshape(weights.shape) * weights
        total = (winning.reshape(weights.shape) * chosen).sum(dim=3).sum(dim=(1, 2))
        share: Tensor = chosen.sum(dim=3).sum(dim=(1, 2))
        return total / share.clamp(min=LEAST_SHARE)

    def _winning(self, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Return the highest probability, (N, h, w), and 1 where it is foreground, else 0."""
        if self.spec.binary:
            winning = probability[:, 0]
            return winning, (winning > self.spec.mask_threshold).float()
        winning, label = probability.max(dim=1)
        return winning, (label > 0).float()
