"""Random changes of a training view: geometry for all of it, brightness for the image alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no network: set before the import looks

import albumentations as al  # noqa: E402

from foveate.runtime.spec import GREY, RGB  # noqa: E402
from foveate.train.settings.settings import Settings  # noqa: E402

FloatArray = npt.NDArray[np.float32]
Augmentation = Callable[[FloatArray, FloatArray, int], tuple[FloatArray, FloatArray]]
Steps = list[Any]
LINEAR: dict[str, Any] = {
    "interpolation": cv2.INTER_LINEAR,
    "mask_interpolation": cv2.INTER_LINEAR,
    "border_mode": cv2.BORDER_REFLECT_101,
}
ZOOMS = {
    "light": ((0.95, 1.05), 0.03, 0.5),
    "standard": ((0.85, 1.2), 0.06, 0.5),
    "medical": ((0.7, 1.4), 0.1, 0.8),
    "industrial": ((0.85, 1.2), 0.06, 0.5),
}
"""Preset -> range of the scale, largest shift as a share of the side, share of the views."""
LIGHTS = ("linear", "corner", "gaussian")
COLOURS = {"standard": (0.02, 0.2), "medical": (0.03, 0.3), "industrial": (0.02, 0.2)}
"""Preset -> largest turn of the hue, as a share of the circle, and largest change of saturation."""


@dataclass(frozen=True)
class _Augment:
    """Pipelines for views of any shape, and for square ones; can be sent to another process."""

    pipeline: al.Compose
    square: al.Compose

    def __call__(
        self, image: FloatArray, layers: FloatArray, seed: int
    ) -> tuple[FloatArray, FloatArray]:
        chosen = self.square if image.shape[0] == image.shape[1] else self.pipeline
        chosen.set_random_seed(seed)
        changed = chosen(image=image, mask=layers)
        return (
            np.asarray(changed["image"], np.float32).reshape(image.shape),
            np.asarray(changed["mask"], np.float32).reshape(layers.shape),
        )


def augmentation(settings: Settings) -> Augmentation:
    """Return a function of (image, layers, seed) that gives both back changed alike.

    ``image`` is (h, w), or (h, w, C) of other channels than grey, float32 in [0, 1]. ``layers`` is
    (h, w, L) float32 in [0, 1] and follows the geometry only, interpolated linearly: area shares
    of the classes, and stage 1's hint.
    """
    geometry = _geometry(settings)
    intensity = [*_colours(settings), *INTENSITIES[settings.augmentation](settings)]
    return _Augment(
        al.Compose([*geometry, *intensity]),
        al.Compose([*geometry, *_turns(settings), *intensity]),
    )


def augment_below(
    top: FloatArray | float,
    augment: Augmentation,
    image: FloatArray,
    layers: FloatArray,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return what ``augment`` makes of an image whose values lie below ``top`` but for a few.

    ``image`` is (C, h, w), ``layers`` (L, h, w). Noise and brightness are meant for images that use
    the whole of [0, 1]; 12 bits in a 16-bit file use a sixteenth of it. So the image is divided by
    ``top`` and multiplied afterwards. The few brighter pixels are no brighter there than 1; what
    they have above that follows the geometry.
    """
    moving, scales = layers, bool(np.any(np.asarray(top) != 1))
    if scales:
        scaled = image / np.float32(top)
        image = np.minimum(scaled, np.float32(1))
        moving = np.concatenate([layers, scaled - image])
    picture = image[0] if len(image) == 1 else _channels_last(image)
    changed, moved = augment(picture, _channels_last(moving), seed)
    image, moved = _channels_first(np.atleast_3d(changed)), _channels_first(moved)
    if scales:
        image = (image + moved[len(layers) :]) * np.float32(top)
    return image, moved[: len(layers)]


def _channels_last(planes: FloatArray) -> FloatArray:
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _channels_first(pixels: FloatArray) -> FloatArray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _geometry(settings: Settings) -> Steps:
    name, degrees = settings.augmentation, settings.rotate_degrees
    steps: Steps = [
        al.HorizontalFlip(p=settings.horizontal_flip),
        al.VerticalFlip(p=settings.vertical_flip),
        al.Rotate(limit=(-degrees, degrees), p=0.5 if degrees else 0.0, **LINEAR),
    ]
    if name in ZOOMS:
        scale, shift, share = ZOOMS[name]
        moved = (-shift, shift)
        steps.append(al.Affine(scale=scale, translate_percent=moved, p=share, **LINEAR))
    if name == "medical":  # moves a pixel by two, on average, with its neighbours
        steps.append(al.ElasticTransform(alpha=60, sigma=8, p=0.3, **LINEAR))
    return steps


def _turns(settings: Settings) -> Steps:
    """Return quarter turns of what is square, where upside down is as good as upright."""
    if settings.augmentation != "industrial" or not settings.vertical_flip:
        return []
    return [al.RandomRotate90(p=0.5)]


def _brightness(settings: Settings) -> Steps:
    strength = settings.brightness_contrast
    return [
        al.RandomBrightnessContrast(
            brightness_limit=(-strength / 2, strength / 2),
            contrast_limit=(-strength, strength),
            p=0.5 if strength else 0.0,
        )
    ]


def _colours(settings: Settings) -> Steps:
    """Return small changes of hue and saturation, where the images have both."""
    if settings.channels != RGB or settings.augmentation not in COLOURS:
        return []
    hue, saturation = COLOURS[settings.augmentation]
    return [
        al.ColorJitter(
            brightness=(1, 1),
            contrast=(1, 1),
            saturation=(1 - saturation, 1 + saturation),
            hue=(-hue, hue),
            p=0.5,
        )
    ]


def _standard(settings: Settings) -> Steps:
    gamma = al.RandomGamma(gamma_limit=(75, 133), p=0.3)
    return [*_brightness(settings), gamma, al.GaussNoise(std_range=(0.0, 0.04), p=0.3)]


def _medical(settings: Settings) -> Steps:
    return [
        *_brightness(settings),
        al.RandomGamma(gamma_limit=(70, 143), p=0.3),
        al.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.2), p=0.2),
        al.MultiplicativeNoise(
            multiplier=(0.88, 1.12),
            per_channel=settings.channels != GREY,
            elementwise=True,
            p=0.3,
        ),
        al.GaussNoise(std_range=(0.0, 0.03), p=0.2),
    ]


def _industrial(settings: Settings) -> Steps:
    light = [al.Illumination(mode=mode, intensity_range=(0.05, 0.2)) for mode in LIGHTS]
    shadow = al.PlasmaShadow(shadow_intensity_range=(0.1, 0.35))
    jpeg = al.ImageCompression(quality_range=(40, 95), p=0.2)
    return [
        *_brightness(settings),
        al.OneOf([*light, shadow], p=0.4),
        al.RandomGamma(gamma_limit=(75, 133), p=0.2),
        al.Defocus(radius=(1, 2), alias_blur=(0.05, 0.2), p=0.2),
        al.GaussNoise(std_range=(0.0, 0.04), p=0.3),
        *([jpeg] if settings.channels in (GREY, RGB) else []),
    ]


INTENSITIES: dict[str, Callable[[Settings], Steps]] = {
    "none": _brightness,
    "light": _brightness,
    "standard": _standard,
    "medical": _medical,
    "industrial": _industrial,
}
"""Preset -> the steps that change the image alone."""
