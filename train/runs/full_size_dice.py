"""Dice of a trained run at the images' own size, by the PyTorch cascade on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from foveate.runtime.agreement import Mask
from foveate.runtime.input_types import as_input_type
from foveate.runtime.io.images import Pixels
from foveate.train.calibration.image_dice import class_dice
from foveate.train.data.dataset import DataSet
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.run import load_run


def validation_dice(folder: Path, dataset: DataSet) -> list[list[float]]:
    """Return the Dice of a run on its validation images, as ``full_size_dice`` does."""
    cascade, record = load_run(folder)
    return full_size_dice(cascade, dataset, record["data"]["validation"])


def full_size_dice(
    cascade: TorchCascade, dataset: DataSet, stems: Sequence[str]
) -> list[list[float]]:
    """Return for each image the Dice of each foreground class; NaN where nothing is to be found."""
    classes = len(cascade.spec.classes) - 1
    return [
        class_dice(segment(cascade, dataset.image(stem)), dataset.mask(stem), classes)
        for stem in stems
    ]


@torch.inference_mode()
def segment(cascade: TorchCascade, image: Pixels) -> Mask:
    """Return the (H, W) uint8 class mask of an (H, W) uint8 or uint16 image."""
    pixels = as_input_type(image, cascade.spec.input_type).astype(np.float32)
    return np.asarray(cascade(torch.from_numpy(pixels)[None]).mask[0].numpy(), np.uint8)


def class_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over images of each class, NaN left out; NaN where a class has nothing."""
    columns = [column[~np.isnan(column)] for column in np.array(rows, np.float64).T]
    return [float(column.mean()) if len(column) else float("nan") for column in columns]
