"""What is asked of the trainer: one network's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from foveate.train.data.full_views import WholeAtOwnSize

Items = Sequence[tuple[Tensor, Tensor]] | WholeAtOwnSize
Views = Dataset[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """One network's training.

    ``name`` is its key in ``run.json``, ``label`` its name in the log. ``share`` is its part of
    ``num_epochs``; ``seconds`` its time when ``max_minutes`` is given, else 0.
    """

    name: str
    label: str
    views: Views
    validation: Items
    images: int
    share: float = 1.0
    seconds: float = 0.0
