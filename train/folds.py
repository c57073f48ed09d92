"""Cross-validation: a run a fold, each validated on images that no other fold validates on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import SettingsError
from foveate.train.data.dataset import DataSet, split_folds
from foveate.train.settings.settings import Settings
from foveate.train.training import Run, TrainRequest, train_on

FOLDS_FILE = "folds.json"


@dataclass(frozen=True)
class Fold:
    """One fold's run, and its Dice by class at the images' own size (NaN: nothing to find)."""

    run: Run
    images: int
    dice: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over the classes that have a Dice; NaN when none has."""
        found = [value for value in self.dice if not np.isnan(value)]
        return float(np.mean(found)) if found else float("nan")


@dataclass(frozen=True)
class Folds:
    """All folds. Means and deviations are over folds, every fold weighing the same."""

    classes: tuple[str, ...]
    folds: tuple[Fold, ...]

    def rows(self) -> list[tuple[str, int, list[float]]]:
        """Return a row a fold: name, images, Dice of each class and their mean."""
        return [(item.run.folder.name, item.images, [*item.dice, item.mean]) for item in self.folds]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``folds.json`` holds; a Dice that does not exist is null."""
        names = [*self.classes, "mean"]
        mean, deviation = self._spread()
        return {
            "folds": [
                {"run": name, "images": images, "dice": _named(names, values)}
                for name, images, values in self.rows()
            ],
            "mean": _named(names, mean),
            "deviation": _named(names, deviation),
        }

    def as_text(self) -> str:
        """Return the table that the terminal shows."""
        names = [*self.classes, "mean"]
        lines = [_line("fold", "images", names)]
        lines += [_line(name, str(images), _figures(row)) for name, images, row in self.rows()]
        mean, deviation = self._spread()
        lines += [_line("mean", "", _figures(mean)), _line("deviation", "", _figures(deviation))]
        return "Validation Dice at the images' own size\n" + "\n".join(lines)

    def _spread(self) -> tuple[list[float], list[float]]:
        """Return mean and sample deviation of each column over the folds that have a value."""
        columns = np.array([row for _, _, row in self.rows()]).T
        kept = [column[~np.isnan(column)] for column in columns]
        mean = [float(values.mean()) if len(values) else np.nan for values in kept]
        deviation = [float(values.std(ddof=1)) if len(values) > 1 else np.nan for values in kept]
        return mean, deviation


def train_folds(dataset: DataSet, settings: Settings, request: TrainRequest, count: int) -> Folds:
    """Train ``count`` runs into ``request.out``/fold-1 ..., and write ``folds.json`` next to them.

    The folds share ``max_minutes`` equally. With ``request.resume``, finished folds are kept and
    the others continue. SettingsError for stages that are not a whole model, DataError where there
    are fewer groups than folds.
    """
    if request.stages in ("1", "2"):
        raise SettingsError(f"--folds goes with --stages both or single; got {request.stages}")
    if count < 2:
        raise SettingsError(f"--folds is {count}; expected 2 or more")
    shared = replace(settings, max_minutes=settings.max_minutes / count)
    folds = []
    for number, stems in enumerate(split_folds(dataset, count, settings.seed), 1):
        out = request.out / f"fold-{number}"
        resume = request.resume and (out / RUN_FILE).exists()
        run = train_on(dataset, shared, replace(request, out=out, resume=resume, validation=stems))
        folds.append(_judge(run, dataset))
    classes = tuple(folds[0].run.record["spec"]["classes"][1:])
    found = Folds(classes, tuple(folds))
    text = json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n"
    write_atomically(request.out / FOLDS_FILE, lambda file: file.write(text.encode()))
    return found


def _judge(run: Run, dataset: DataSet) -> Fold:
    from foveate.train.runs.full_size_dice import class_means, validation_dice

    scores = validation_dice(run.folder, dataset)
    return Fold(run, len(scores), tuple(class_means(scores)))


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else round(value, 5)
        for name, value in zip(names, values, strict=True)
    }


def _figures(values: Sequence[float]) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.4f}" for value in values]


def _line(name: str, images: str, cells: Sequence[str]) -> str:
    return f"{name:<10} {images:>6} " + " ".join(f"{cell:>10}" for cell in cells)
