"""What the masks are worth: Dice of stage 1 alone and of the whole cascade, per class and mean.

A bundle is evaluated in ONNX Runtime and needs no torch; a run is evaluated in PyTorch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.models import BundleModel, Model, Segmented
from foveate.runtime.bundle import MANIFEST
from foveate.runtime.cascade import Cascade
from foveate.runtime.errors import BundleError, EngineError
from foveate.runtime.mask_files import write_atomically
from foveate.runtime.overlap import dice
from foveate.train.dataset import DataSet

Mask = npt.NDArray[np.uint8]
METHODS = ("stage 1", "cascade")


def open_model(path: Path) -> Model:
    """Return the model of a run or a bundle; EngineError when a run lacks its torch."""
    if (path / MANIFEST).exists():
        return BundleModel(Cascade.load(path))
    if not (path / "run.json").exists():
        raise BundleError(f"{path}: neither a bundle (manifest.json) nor a run (run.json)")
    try:
        from foveate.benchmarks.torch_model import TorchModel
    except ImportError as error:
        raise EngineError(
            f"{path} is a run, and evaluating it needs {error.name}: pip install "
            "'foveate[train]', or evaluate the bundle exported from it"
        ) from None
    return TorchModel(path)


@dataclass(frozen=True)
class Row:
    """Dice of one image, class and method; NaN when neither mask nor truth has the class.

    ``missed`` is the share of the class's truth outside the box of stage 2.
    """

    stem: str
    label: int
    method: str
    dice: float
    truth_share: float
    missed: float


def evaluate(
    model: Model, dataset: DataSet, stems: Sequence[str], progress: Callable[[str, int, int], None]
) -> list[Row]:
    """Return a row for every image, foreground class and method."""
    rows = []
    for number, stem in enumerate(stems):
        image, truth = dataset.image(stem), dataset.mask(stem)
        rows += list(_rows(stem, model.segment(image), truth, len(model.spec.classes)))
        progress("evaluating", number + 1, len(stems))
    return rows


def _rows(stem: str, found: Segmented, truth: Mask, classes: int) -> Iterator[Row]:
    inside = np.zeros(truth.shape, bool)
    for x0, y0, x1, y1 in found.box_xyxy.astype(int):
        inside[y0:y1, x0:x1] = True
    for label in range(1, classes):
        target = truth == label
        count = np.count_nonzero(target)
        missed = np.count_nonzero(target & ~inside) / count if count else float("nan")
        for method, mask in zip(METHODS, (found.coarse, found.mask), strict=True):
            yield Row(stem, label, method, dice(mask, truth, label), count / truth.size, missed)


@dataclass(frozen=True)
class Summary:
    """Mean Dice of a method over images, for one class or over all pairs (label 0)."""

    method: str
    label: int
    dice: float
    images: int
    both_empty: int


def summarise(rows: Sequence[Row], classes: int) -> list[Summary]:
    """Return the mean per class, then over the classes, of each method.

    An image where neither mask nor truth has a class says nothing of that class: it is left out
    of the mean and counted in ``both_empty``.
    """
    summaries = []
    for method in METHODS:
        per_class = []
        for label in range(1, classes):
            values = np.array([r.dice for r in rows if r.method == method and r.label == label])
            known = values[~np.isnan(values)]
            mean = float(known.mean()) if len(known) else float("nan")
            per_class.append(Summary(method, label, mean, len(known), len(values) - len(known)))
        summaries += per_class
        means = np.array([item.dice for item in per_class])
        images = len({row.stem for row in rows})
        overall = float(np.nanmean(means)) if not np.isnan(means).all() else float("nan")
        summaries.append(Summary(method, 0, overall, images, 0))
    return summaries


def coarse_miss(rows: Sequence[Row]) -> float:
    """Return the share of all truth pixels that lie outside the boxes, images weighted alike."""
    ours = [row for row in rows if row.method == "cascade" and not np.isnan(row.missed)]
    weight = sum(row.truth_share for row in ours)
    return sum(row.missed * row.truth_share for row in ours) / weight if weight else 0.0


def write_csv(path: Path, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Write one line per image, class and method; an empty cell where Dice is not defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stem", "class", "method", "dice", "truth_share", "missed"])
    for row in rows:
        cells = [row.dice, row.truth_share, row.missed]
        shown = ["" if np.isnan(value) else f"{value:.6f}" for value in cells]
        writer.writerow([row.stem, classes[row.label], row.method, *shown])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
