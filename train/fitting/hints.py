"""What stage 2 is told in training: stage 1's errors as they are on images it has never seen.

Stage 1 has memorised its training images, so its answers on them are better than on any others,
and a stage 2 that is shown those learns to repeat them. So the training images are divided into
folds by group, and each fold is answered by a network that was trained on the others (stacked
generalisation, Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveate.runtime.spec import Region, Size
from foveate.train.calibration.boxes import box_of
from foveate.train.data.views import Regions, WholeView
from foveate.train.fitting.losses import foreground_probabilities

MEASURED = 48

Answers = dict[str, list[Tensor]]
"""Stage 1's foreground probability of every stem, (h1, w1) float32, one or more answers."""
Item = Callable[[str], tuple[Tensor, Tensor]]
Forward = Callable[[Tensor], Tensor]


def answers(
    forward: Forward,
    item: Item,
    stems: Sequence[str],
    mirrored: bool,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Answers:
    """Return a network's answers on whole views; ``mirrored`` adds those on mirrored ones."""
    found: Answers = {}
    for stem in stems:
        view = item(stem)[0][None]
        found[stem] = [_foreground(forward(view))]
        if mirrored:
            found[stem].append(_foreground(forward(view.flip(3))).flip(1))
        progress(len(found), len(stems))
    return found


def _foreground(logits: Tensor) -> Tensor:
    return foreground_probabilities(logits)[0].sum(dim=0)


def regions(found: Answers, views: Mapping[str, WholeView], region: Region, size: Size) -> Regions:
    """Return the hints of every stem and the boxes that they give."""
    foreground: dict[str, list[npt.NDArray[np.float16]]] = {}
    predicted, true = {}, {}
    for stem, maps in found.items():
        view = views[stem]
        foreground[stem] = [answer.numpy().astype(np.float16) for answer in maps]
        predicted[stem] = [box_of(answer, view, region, size) for answer in maps]
        if view.shares.any():
            truth = torch.from_numpy(view.target().sum(axis=0))
            true[stem] = box_of(truth, view, region, size)
    return Regions(foreground, predicted, true)


def sample(found: Answers, training: Sequence[str], validation: Sequence[str]) -> dict[str, Tensor]:
    """Return the answers that the box is chosen by: validation stems, and some training stems."""
    return {stem: found[stem][0] for stem in [*validation, *evenly(training)]}


def evenly(stems: Sequence[str]) -> list[str]:
    """Return at most twice ``MEASURED`` stems, spread over all."""
    return list(stems)[:: max(1, len(stems) // MEASURED)]
