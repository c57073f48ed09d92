"""The training losses and the validation score. Targets are area shares in [0, 1], not labels.

A loss takes logits, (N, C, h, w) float32, C = 1 or classes + 1, and the target, (N, K, h, w)
float32: the share of each pixel that foreground class k covers. It returns a scalar. Overlaps are
pooled over the batch, so an empty image adds its false positives and nothing is divided by zero
(Milletari et al. 2016). One layer more in the target is the share of each pixel that is not
labelled; pixels with more than half of it count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from foveate.train.settings.settings import Settings, parse_weights

Loss = Callable[[Tensor, Tensor], Tensor]
NEVER_0 = 1e-6
"""What is raised to a power is at least this: the slope of a power under 1 has no bound at 0."""
LOOKED_AT = 64
"""Views from which the shares of the classes are taken."""
RAREST = 1e-3
"""A class with less of the pixels than this weighs no more: one speck must not rule the loss."""


def loss_function(settings: Settings, weights: Sequence[float] = ()) -> Loss:
    """Return the loss that the settings name; ``weights`` are one a class, background first."""
    alpha, beta = settings.tversky_alpha, settings.tversky_beta
    losses = {
        "cross_entropy": SegmentationLoss(0.0, None, weights),
        "dice": SegmentationLoss(None, soft_dice, weights),
        "cross_entropy_dice": SegmentationLoss(0.0, soft_dice, weights),
        "focal": SegmentationLoss(settings.focal_gamma, None, weights),
        "tversky": SegmentationLoss(None, Tversky(alpha, beta), weights),
        "focal_tversky": SegmentationLoss(
            None, Tversky(alpha, beta, settings.tversky_gamma), weights
        ),
    }
    return losses[settings.loss]


@dataclass(frozen=True)
class SegmentationLoss:
    """Cross-entropy, 1 - the mean overlap of the foreground classes, or their sum.

    ``gamma`` None is without cross-entropy, 0 with the plain one, else it is focal. ``overlap``
    takes (N, K, h, w) foreground probabilities and the target and gives (K,), 1 at best.
    ``weights`` multiply the classes' parts of the cross-entropy; the mean is weighed by those of
    the foreground.
    """

    gamma: float | None
    overlap: Loss | None
    weights: Sequence[float] = ()

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        logits, target = _labelled(logits, target)
        if not target.numel():
            return logits.sum()
        weights = logits.new_tensor(self.weights) if self.weights else None
        loss = logits.new_zeros(())
        if self.gamma is not None:
            if self.gamma or weights is not None:
                loss = focal(logits, target, self.gamma, weights)
            else:
                loss = cross_entropy(logits, target)
        if self.overlap is not None:
            overlap = self.overlap(foreground_probabilities(logits), target)
            if weights is not None:
                overlap = overlap * weights[1:] / weights[1:].mean()
            loss = loss + 1 - overlap.mean()
        return loss


def _labelled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return both without the pixels that are not labelled, as (1, C, P, 1) and (1, K, P, 1).

    Shares are those of the labelled part. Without a layer of ignored shares both stay as they are.
    """
    classes = _classes(logits)
    if target.shape[1] == classes:
        return logits, target
    labelled = 1 - target[:, classes]
    counted = labelled >= 0.5
    logits, shares = (
        layers.movedim(1, -1)[counted].T[None, :, :, None]
        for layers in (logits, target[:, :classes] / labelled[:, None])
    )
    return logits, shares.clamp(max=1)


def _classes(logits: Tensor) -> int:
    """Return the number of foreground classes."""
    return max(1, logits.shape[1] - 1)


def foreground_probabilities(logits: Tensor) -> Tensor:
    """Return (N, K, h, w) probabilities of the foreground classes from (N, C, h, w) logits."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits)
    return torch.softmax(logits, dim=1)[:, 1:]


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy: binary where there is one logit, else over all classes."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits, target)
    return functional.cross_entropy(logits, _with_background(target))


def focal(logits: Tensor, target: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Return the mean focal loss (Lin et al. 2017), for shares: ``|share - p|`` for ``1 - p``.

    That is the same where a pixel is all of one class, and least at p = share where it is not (Li
    et al. 2020, Generalized Focal Loss). With gamma 0 it is cross-entropy.
    """
    if logits.shape[1] == 1:
        log = torch.cat([functional.logsigmoid(-logits), functional.logsigmoid(logits)], dim=1)
    else:
        log = torch.log_softmax(logits, dim=1)
    shares = _with_background(target)
    losses = -shares * log
    if gamma:
        losses = losses * (shares - log.exp()).abs().clamp(min=NEVER_0).pow(gamma)
    if weights is not None:
        losses = losses * weights[:, None, None]
    return losses.sum(dim=1).mean()


def soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return (K,) Dice of sums over the batch, with squares below (Milletari et al. 2016)."""
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = (probability.square() + target.square()).sum(dim=(0, 2, 3))
    return (2 * overlap + 1) / (total + 1)


@dataclass(frozen=True)
class Tversky:
    """(K,) Tversky indices of sums over the batch (Salehi et al. 2017).

    ``alpha`` weighs false positives, ``beta`` false negatives. With ``gamma`` over 1 it is focal:
    1 - (1 - index) ** (1 / gamma) (Abraham and Khan 2019).
    """

    alpha: float
    beta: float
    gamma: float = 1.0

    def __call__(self, probability: Tensor, target: Tensor) -> Tensor:
        overlap = (probability * target).sum(dim=(0, 2, 3))
        wrong = (probability * (1 - target)).sum(dim=(0, 2, 3))
        missed = ((1 - probability) * target).sum(dim=(0, 2, 3))
        index = (overlap + 1) / (overlap + self.alpha * wrong + self.beta * missed + 1)
        if self.gamma == 1:
            return index
        return 1 - (1 - index).clamp(min=NEVER_0).pow(1 / self.gamma)


def _with_background(target: Tensor) -> Tensor:
    """Return (N, K + 1, h, w) shares of all classes, the background first."""
    background = (1 - target.sum(dim=1, keepdim=True)).clamp(min=0)
    return torch.cat([background, target], dim=1)


def mean_dice(scores: Sequence[Tensor]) -> float:
    """Return the mean of the (N, K) Dice of several views, NaN left out; 0 where all are NaN."""
    dice = torch.cat(list(scores))
    return float(dice.nanmean()) if not dice.isnan().all() else 0.0


def view_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N, K) Dice of hard decisions at the view's resolution; NaN where both are empty."""
    channels = _classes(logits)
    labelled = 1 - target[:, channels:].sum(dim=1, keepdim=True)
    counted = labelled >= 0.5
    truth = (target[:, :channels] >= labelled / 2) & counted
    if channels == 1:
        predicted = logits > 0
    else:
        label = logits.argmax(dim=1, keepdim=True)
        predicted = torch.cat([label == k + 1 for k in range(channels)], dim=1)
    predicted = predicted & counted
    overlap = (predicted & truth).sum(dim=(2, 3)).double()
    total = predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return 2 * overlap / total


def stage_loss(
    settings: Settings, classes: Sequence[str], data: Dataset[tuple[Tensor, Tensor]]
) -> Loss:
    """Return the loss of a stage with its class weights.

    ``classes`` name the background first; ``data`` are the views that the stage trains on.
    """
    if not settings.class_weights:
        return loss_function(settings)
    if settings.class_weights == "auto":
        return loss_function(settings, balanced_weights(data, len(classes) - 1))
    return loss_function(settings, parse_weights(settings.class_weights, len(classes)))


def balanced_weights(data: Dataset[tuple[Tensor, Tensor]], classes: int) -> tuple[float, ...]:
    """Return 1 / (classes * share of the class), background first, of views a stage trains on.

    The rule of scikit-learn's ``class_weight="balanced"``: every class has the same part of the
    loss. A view's target is (K, h, w) area shares of the foreground, K ``classes``, and perhaps
    that of what is ignored.
    """
    shares = _class_shares([data[index][1] for index in range(LOOKED_AT)], classes)
    return tuple(1 / (len(shares) * max(share, RAREST)) for share in shares)


def _class_shares(targets: Sequence[Tensor], classes: int) -> list[float]:
    layers = torch.stack([target.mean(dim=(1, 2)) for target in targets]).double().mean(dim=0)
    labelled = max(1 - float(layers[classes:].sum()), NEVER_0)
    foreground = layers[:classes] / labelled
    return [max(1 - float(foreground.sum()), 0.0), *foreground.tolist()]
