"""How far a training has come, and the learning rate that belongs there."""

from __future__ import annotations

import math
import time

from foveate.train.settings.settings import Settings

WARM_UP = 0.03
FOLD_SHARE = 0.5
"""A network that answers one fold of the training images gets this part of stage 1's epochs."""

CHOOSING = 0.05
"""Share of ``max_minutes`` that is kept for choosing box and thresholds."""


class Clock:
    """How far a stage has come: over its epochs, or over its time when one is given."""

    def __init__(self, started: float, seconds: float, num_epochs: int, batches: int) -> None:
        self.started, self.seconds = started, seconds
        self.num_epochs, self.batches = num_epochs, batches

    def progress(self, epoch: int, step: int) -> float:
        if self.seconds:
            return self.spent / self.seconds
        return (epoch + step / self.batches) / self.num_epochs

    @property
    def spent(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started


def rate_factor(progress: float) -> float:
    """Return the factor on the learning rate: a short warm-up, then a cosine to one percent."""
    if progress < WARM_UP:
        return 0.05 + 0.95 * progress / WARM_UP
    along = min(1.0, (progress - WARM_UP) / (1 - WARM_UP))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along))


def shares(settings: Settings, stages: str) -> dict[str, float]:
    """Return the share of ``max_minutes`` of each network, in the order of their training.

    All stages get about as many epochs: an epoch's time goes by the pixels of its views. What is
    left of 1 is for the choice of box and thresholds. ``stages`` is what the command trains: both,
    1, 2 or single.
    """
    stage1 = float(settings.image_height * settings.image_width)
    height, width = settings.crop_size
    pixels = {"stage1": stage1} if stages != "2" else {}
    if stages in ("both", "2"):
        folds = range(1, settings.hint_folds + 1)
        pixels |= {f"fold{number}": FOLD_SHARE * stage1 for number in folds}
        pixels["stage2"] = float(height * width)
    whole = sum(pixels.values()) / (1 - CHOOSING)
    return {name: value / whole for name, value in pixels.items()}
