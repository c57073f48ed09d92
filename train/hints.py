"""What stage 2 is told in training: stage 1's answers, as wrong as they will be on new images.

Stage 1 has learnt its training images by heart, so its answers on them are better than on any
other, and a stage 2 that is shown those learns to repeat them. So stage 1 is asked about views that
are disturbed, by noise and by uneven light, just so much that its Dice on them is that of the
validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.boxes import box_of
from foveate.train.losses import foreground_probabilities, mean_dice, view_dice
from foveate.train.views import Regions, WholeView

STRENGTHS = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Disturbances tried, in standard deviations of the normalised view."""
VARIANTS = 4
MEASURED = 48
GRAIN = 8
"""The uneven light is noise on a grid of 8 x 8 cells, enlarged to the view."""

Items = Callable[[str], tuple[Tensor, Tensor]]
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """A strength with stage 1's mean Dice on the training views disturbed by it."""

    strength: float
    dice: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def disturb(view: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Return a (1, h, w) normalised view with noise and uneven light of ``strength`` deviations."""
    if strength == 0:
        return view
    height, width = view.shape[1:]
    light, contrast = (
        cv2.resize(
            rng.standard_normal((GRAIN, GRAIN)).astype(np.float32),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        for _ in range(2)
    )
    noise = rng.standard_normal((height, width)).astype(np.float32)
    gain = np.exp(strength / 2 * contrast)
    changed = view.numpy() * gain + strength * (light + noise / 2)
    return torch.from_numpy(np.asarray(changed, np.float32))


def measure_strengths(
    forward: Forward, items: Items, stems: Sequence[str], wanted: float, seed: int
) -> list[Trial]:
    """Return what was tried, the strength to take last: the first whose Dice is not over wanted."""
    trials: list[Trial] = []
    for strength in STRENGTHS:
        rng = np.random.default_rng([seed, 3])
        scores = []
        for stem in evenly(stems):
            view, target = items(stem)
            logits = forward(disturb(view, strength, rng)[None])
            scores.append(view_dice(logits, target[None]))
        mean = mean_dice(scores)
        trials.append(Trial(strength, round(mean, 5)))
        if mean <= wanted:
            break
    return trials


def evenly(stems: Sequence[str]) -> list[str]:
    """Return at most twice ``MEASURED`` stems, spread over all."""
    return list(stems)[:: max(1, len(stems) // MEASURED)]


@dataclass(frozen=True)
class Asked:
    """Whom to ask about which stem: stage 1, its views, and how much to disturb them."""

    forward: Forward
    items: Items
    views: Mapping[str, WholeView]
    strength: float
    seed: int


def answers(
    asked: Asked, training: Sequence[str], validation: Sequence[str]
) -> dict[str, list[Tensor]]:
    """Return stage 1's (h1, w1) answers: several disturbed ones of training stems, one true one
    of others."""
    rng = np.random.default_rng([asked.seed, 4])
    wanted = dict.fromkeys(training, [asked.strength] * VARIANTS)
    wanted |= dict.fromkeys(validation, [0.0])
    return {
        stem: [_answer(asked, stem, strength, rng) for strength in strengths]
        for stem, strengths in wanted.items()
    }


def regions(
    asked: Asked, training: Sequence[str], validation: Sequence[str], region: Region, size: Size
) -> Regions:
    """Return the hints of every stem and the boxes that they give."""
    foreground: dict[str, list[npt.NDArray[np.float16]]] = {}
    predicted, true = {}, {}
    for stem, found in answers(asked, training, validation).items():
        view = asked.views[stem]
        foreground[stem] = [answer.numpy().astype(np.float16) for answer in found]
        predicted[stem] = [box_of(answer, view, region, size) for answer in found]
        if view.shares.any():
            truth = torch.from_numpy(view.target().sum(axis=0))
            true[stem] = box_of(truth, view, region, size)
    return Regions(foreground, predicted, true)


def sample(asked: Asked, training: Sequence[str], validation: Sequence[str]) -> dict[str, Tensor]:
    """Return stage 1's answers to choose the box by: validation stems, some disturbed others."""
    rng = np.random.default_rng([asked.seed, 6])
    found = {stem: _answer(asked, stem, 0.0, rng) for stem in validation}
    return found | {stem: _answer(asked, stem, asked.strength, rng) for stem in evenly(training)}


def _answer(asked: Asked, stem: str, strength: float, rng: np.random.Generator) -> Tensor:
    """Return (h1, w1): stage 1's probability of any foreground in a view, disturbed."""
    view = disturb(asked.items(stem)[0], strength, rng)
    return foreground_probabilities(asked.forward(view[None]))[0].sum(dim=0)
