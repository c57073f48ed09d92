"""Random changes of a training view: geometry for all of it, brightness for the image alone."""

from __future__ import annotations

import os
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no network: set before the import looks

import albumentations  # noqa: E402

from foveate.train.settings import Settings  # noqa: E402

FloatArray = npt.NDArray[np.float32]
Augmentation = Callable[[FloatArray, FloatArray, int], tuple[FloatArray, FloatArray]]


def augmentation(settings: Settings) -> Augmentation:
    """Return a function of (image, layers, seed) that gives both back changed alike.

    ``image`` is (h, w) float32 in [0, 1]. ``layers`` is (h, w, L) float32 in [0, 1] and follows
    the geometry only, interpolated linearly: area shares of the classes, and stage 1's hint.
    """
    strength = settings.brightness_contrast
    pipeline = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=settings.horizontal_flip),
            albumentations.VerticalFlip(p=settings.vertical_flip),
            albumentations.Rotate(
                limit=(-settings.rotate_degrees, settings.rotate_degrees),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            albumentations.Affine(
                scale=(0.85, 1.2),
                translate_percent=(-0.06, 0.06),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            albumentations.RandomBrightnessContrast(
                brightness_limit=(-strength / 2, strength / 2),
                contrast_limit=(-strength, strength),
                p=0.5,
            ),
            albumentations.RandomGamma(gamma_limit=(75, 133), p=0.3),
            albumentations.GaussNoise(std_range=(0.0, 0.04), p=0.3),
        ]
    )

    def augment(image: FloatArray, layers: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
        pipeline.set_random_seed(seed)
        changed = pipeline(image=image, mask=layers)
        return (
            np.asarray(changed["image"], np.float32).reshape(image.shape),
            np.asarray(changed["mask"], np.float32).reshape(layers.shape),
        )

    return augment
