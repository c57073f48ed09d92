"""Choose the settings of a training from the data, with a reason for each choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveate.train.data.survey import Survey
from foveate.train.settings.network_choice import IMAGENET, Networks
from foveate.train.settings.settings import Settings

STEP = 32
"""Sides of both stages are multiples of this, twice what the networks need."""
CELLS = 6
"""Pixels that a small target's side has to keep at stage 1's size."""
FILLS = 0.5
"""From this share of the image on, a box around the targets saves nothing."""
ROOM = 1.25
"""Stage 2 sees a large box of targets with so much around it."""
SHORT = 5
"""In fewer minutes than this, stage 2 gains more from time than from the hints of folds."""
FEW = 40
"""Below so many images, a fourth of them validates."""


@dataclass(frozen=True)
class Budget:
    """Bounds on the pixels of each stage's view, as sides of a square."""

    stage1: tuple[int, int]
    stage2: tuple[int, int]
    width: int


BUDGETS = {
    "fast": Budget((96, 160), (128, 224), 8),
    "balanced": Budget((128, 256), (192, 320), 16),
    "best": Budget((192, 384), (256, 512), 16),
}
GEOMETRY = (
    "image_height", "image_width", "crop_height", "crop_width", "region_mode", "single_input",
)  # fmt: skip
AUGMENTATION = (
    "augmentation", "horizontal_flip", "vertical_flip", "rotate_degrees", "brightness_contrast",
)  # fmt: skip
"""A given setting of GEOMETRY or AUGMENTATION takes the others out of the choice."""


@dataclass(frozen=True)
class Choice:
    """Settings that were chosen together, and why."""

    values: dict[str, Any]
    reason: str

    @property
    def words(self) -> str:
        """Return settings and reason on one line."""
        settings = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{settings}: {self.reason}"


@dataclass(frozen=True)
class Configuration:
    """The settings of a training, what it trains (both stages or single), and the choices."""

    settings: Settings
    stages: str
    choices: tuple[Choice, ...]


def configure(
    data: Survey, given: Mapping[str, Any], stages: str | None, budget: str
) -> Configuration:
    """Return the settings for a data set; ``given`` ones stay, and those that go with them.

    ``stages`` is what the command asks for, None to have it chosen.
    """
    bounds, choices = BUDGETS[budget], []
    choices += _network(given, bounds)
    chosen_stages = stages or "both"
    if given.keys().isdisjoint(GEOMETRY):
        reason = against_cascade(data, bounds)
        if stages == "single" or (stages is None and reason):
            chosen_stages = "single"
            choices.append(_whole(data, bounds, reason))
        else:
            choices += [_stage1(data, bounds), _stage2(data, bounds)]
    elif chosen_stages != "single" and not given.keys() & set(GEOMETRY[2:]):
        choices.append(_as_stage1(data, given, bounds))
    if given.keys().isdisjoint(AUGMENTATION):
        choices.append(_augmentation(data))
    if "val_fraction" not in given and data.images < FEW:
        choices.append(Choice({"val_fraction": 0.25}, f"{data.images} images are few"))
    if "hint_folds" not in given and chosen_stages == "both":
        choices += _folds(data, float(given.get("max_minutes", 0)))
    values = {name: value for choice in choices for name, value in choice.values.items()}
    return Configuration(Settings(**{**values, **given}), chosen_stages, tuple(choices))


def against_cascade(data: Survey, bounds: Budget) -> str:
    """Return why one network at the images' own size does better; "" where a cascade does."""
    if data.height * data.width <= bounds.stage1[1] ** 2:
        return f"images of {data.width} x {data.height} are small enough for one network"
    if data.box_share >= FILLS:
        return (
            f"the box around all targets is {data.box_share:.0%} of the image, so it saves nothing"
        )
    return ""


def fitted(height: float, width: float, pixels: float) -> tuple[int, int]:
    """Return sides of about so many pixels in the shape of height x width, multiples of STEP."""
    scale = (pixels / (height * width)) ** 0.5
    return _rounded(height * scale), _rounded(width * scale)


def _network(given: Mapping[str, Any], bounds: Budget) -> list[Choice]:
    """Return the network where it is not given: a width or depth that is goes with it.

    A depth that the pretrained encoder cannot have leaves the default network.
    """
    if not given.keys().isdisjoint(("network", "encoder_weights")):
        return []
    name = next(iter(IMAGENET))
    values = {"network": name, "encoder_weights": "imagenet", "depth": 4, "width": bounds.width}
    values = {key: value for key, value in values.items() if key not in given}
    set_by_hand = Settings(**given).as_dict()
    problem = Networks.of_settings({**set_by_hand, **values}).problem()
    if problem:
        reason = f"{name} with ImageNet weights would be chosen, but not for {problem}"
        return [Choice({"network": Settings.network}, reason)]
    return [Choice(values, "an encoder that has seen ImageNet needs fewer images and epochs")]


def _whole(data: Survey, bounds: Budget, reason: str) -> Choice:
    pixels = min(bounds.stage2[1] ** 2, data.height * data.width)
    height, width = fitted(data.height, data.width, pixels)
    values = {"single_input": "full", "image_height": height, "image_width": width}
    training = "one network sees images at their own size and is trained on crops of this"
    return Choice(values, f"{reason}; {training}" if reason else training)


def _stage1(data: Survey, bounds: Budget) -> Choice:
    low, high = bounds.stage1
    scale = CELLS / data.side
    pixels = min(max(scale**2 * data.height * data.width, low**2), high**2)
    height, width = fitted(data.height, data.width, pixels)
    kept = data.side * (height * width / (data.height * data.width)) ** 0.5
    return Choice(
        {"image_height": height, "image_width": width},
        f"a small target, {data.side:.0f} pixels wide, keeps {kept:.1f} in stage 1",
    )


def _stage2(data: Survey, bounds: Budget) -> Choice:
    low, high = bounds.stage2
    tall, wide = (ROOM * side for side in data.box)
    pixels = min(max(tall * wide, low**2), high**2)
    height, width = fitted(max(tall, low / 2), max(wide, low / 2), pixels)
    return Choice(
        {"crop_height": height, "crop_width": width},
        f"the targets of nine images in ten lie within {data.box[1]} x {data.box[0]} pixels",
    )


def _as_stage1(data: Survey, given: Mapping[str, Any], bounds: Budget) -> Choice:
    """Return stage 2's size where only stage 1's is given: the same, next to what would suit."""
    height, width = Settings(**given).crop_size
    suits = " ".join(f"{name}={side}" for name, side in _stage2(data, bounds).values.items())
    return Choice(
        {"crop_height": height, "crop_width": width},
        f"as stage 1, whose size was set; by the targets it would be {suits}",
    )


def _folds(data: Survey, minutes: float) -> list[Choice]:
    """Return fewer folds than the default where there is no time or are no groups for them."""
    left = data.groups - 1  # one group validates
    if 0 < minutes < SHORT:
        return [Choice({"hint_folds": 0}, f"{minutes:g} minutes are too short for more networks")]
    if left < Settings.hint_folds:
        return [Choice({"hint_folds": left if left > 1 else 0}, f"{data.groups} groups are few")]
    return []


def _augmentation(data: Survey) -> Choice:
    if data.is_upright:
        return Choice({"augmentation": "medical"}, "the images have a top and a bottom")
    return Choice({"augmentation": "standard"}, "the images look alike upside down")


def _rounded(side: float) -> int:
    return max(2, round(side / STEP)) * STEP
