"""The weights of classes in a loss: as the setting gives them, or from how often classes are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.train.fitting.losses import Loss, loss_function
from foveate.train.settings.settings import Settings, parse_weights

LOOKED_AT = 64
"""Views from which the shares of the classes are taken."""
RAREST = 1e-3
"""A class with less of the pixels than this weighs no more: one speck must not rule the loss."""


def stage_loss(
    settings: Settings, classes: Sequence[str], data: Dataset[tuple[Tensor, Tensor]]
) -> Loss:
    """Return the loss of a stage with its class weights.

    ``classes`` name the background first; ``data`` are the views that the stage trains on.
    """
    if not settings.class_weights:
        return loss_function(settings)
    if settings.class_weights == "auto":
        return loss_function(settings, balanced_weights(data))
    return loss_function(settings, parse_weights(settings.class_weights, len(classes)))


def balanced_weights(data: Dataset[tuple[Tensor, Tensor]]) -> tuple[float, ...]:
    """Return 1 / (classes * share of the class), background first, of views a stage trains on.

    The rule of scikit-learn's ``class_weight="balanced"``: every class has the same part of the
    loss. A view's target is (K, h, w) area shares of the foreground.
    """
    shares = _class_shares([data[index][1] for index in range(LOOKED_AT)])
    return tuple(1 / (len(shares) * max(share, RAREST)) for share in shares)


def _class_shares(targets: Sequence[Tensor]) -> list[float]:
    foreground = torch.stack([target.mean(dim=(1, 2)) for target in targets]).double().mean(dim=0)
    return [max(1 - float(foreground.sum()), 0.0), *foreground.tolist()]
