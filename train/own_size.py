"""Dice of a trained run at the images' own size, by the PyTorch cascade on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from foveate.runtime.image_files import Pixels
from foveate.runtime.input_types import as_input_type
from foveate.runtime.overlap import dice
from foveate.train.cascade import TorchCascade
from foveate.train.dataset import DataSet
from foveate.train.masks import Mask
from foveate.train.run import load_run

Scores = npt.NDArray[np.float64]


def validation_dice(folder: Path, dataset: DataSet) -> Scores:
    """Return (images, classes) Dice of a run on its validation images, as ``image_dice`` does."""
    cascade, record = load_run(folder)
    return image_dice(cascade, dataset, record["data"]["validation"])


def image_dice(cascade: TorchCascade, dataset: DataSet, stems: Sequence[str]) -> Scores:
    """Return (images, foreground classes) Dice at full size; NaN where mask and truth lack it."""
    labels = range(1, len(cascade.spec.classes))
    rows = []
    for stem in stems:
        mask, truth = segment(cascade, dataset.image(stem)), dataset.mask(stem)
        rows.append([dice(mask, truth, label) for label in labels])
    return np.array(rows, np.float64)


@torch.inference_mode()
def segment(cascade: TorchCascade, image: Pixels) -> Mask:
    """Return the (H, W) uint8 class mask of an (H, W) uint8 or uint16 image."""
    pixels = as_input_type(image, cascade.spec.input_type).astype(np.float32)
    return np.asarray(cascade(torch.from_numpy(pixels)[None]).mask[0].numpy(), np.uint8)


def class_means(scores: Scores) -> list[float]:
    """Return the mean over images of each column, NaN left out; NaN where a column has nothing."""
    columns = [column[~np.isnan(column)] for column in scores.T]
    return [float(column.mean()) if len(column) else float("nan") for column in columns]


def mean_dice(scores: Scores) -> float:
    """Return the mean over classes of their means; 1 where no image has anything to find."""
    means = [mean for mean in class_means(scores) if not np.isnan(mean)]
    return float(np.mean(means)) if means else 1.0
