"""The training loss and the validation score. Targets are area shares in [0, 1], not labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def foreground_probabilities(logits: Tensor) -> Tensor:
    """Return (N, K, h, w) probabilities of the foreground classes from (N, C, h, w) logits."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)[:, 1:]


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice, a scalar.

    ``logits`` is (N, C, h, w) float32, C = 1 or classes + 1. ``target`` is (N, K, h, w) float32:
    the share of each pixel that foreground class k covers. Dice is pooled over the batch, so an
    empty image adds its false positives and no division by nothing (Milletari et al. 2016).
    """
    if logits.shape[1] == 1:
        entropy = functional.binary_cross_entropy_with_logits(logits, target)
    else:
        background = (1 - target.sum(dim=1, keepdim=True)).clamp(min=0)
        entropy = functional.cross_entropy(logits, torch.cat([background, target], dim=1))
    probability = foreground_probabilities(logits)
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = (probability.square() + target.square()).sum(dim=(0, 2, 3))
    dice = (2 * overlap + 1) / (total + 1)
    return entropy + 1 - dice.mean()


def mean_dice(scores: Sequence[Tensor]) -> float:
    """Return the mean of the (N, K) Dice of several views, NaN left out; 1 where all are NaN."""
    dice = torch.cat(list(scores))
    return float(dice.nanmean()) if not dice.isnan().all() else 1.0


def view_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N, K) Dice of hard decisions at the view's resolution; NaN where both are empty."""
    channels = target.shape[1]
    truth = target >= 0.5
    if channels == 1:
        predicted = logits > 0
    else:
        label = logits.argmax(dim=1, keepdim=True)
        predicted = torch.cat([label == k + 1 for k in range(channels)], dim=1)
    overlap = (predicted & truth).sum(dim=(2, 3)).double()
    total = predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return 2 * overlap / total
