"""Cross-validation: a run a fold, each validated on images that no other fold validates on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import DataError, SettingsError
from foveate.train.data.dataset import split_folds
from foveate.train.runs.job import TrainingJob, lock_run
from foveate.train.runs.record import new_record
from foveate.train.runs.run import FOLDS_FILE
from foveate.train.training import progress_bar, train_on


def train_folds(job: TrainingJob, count: int) -> str:
    """Train ``count`` runs into the folder's fold-1 ..., and write ``folds.json`` next to them.

    Returns the table of their validation Dice at the images' own size. The folds share
    ``max_minutes`` equally. With ``job.resume``, finished folds are kept and the others continue.
    Raises what ``split_into_folds`` does.
    """
    folds = split_into_folds(job, count)
    for line in job.notes:
        progress_bar().log(line)
    with lock_run(job.folder):
        return _train_folds(replace(job, notes=()), folds)


def split_into_folds(job: TrainingJob, count: int) -> tuple[tuple[str, ...], ...]:
    """Return the validation stems of each fold.

    SettingsError for stages that are not a whole model, DataError where there are fewer groups with
    foreground than folds, and what any fold would be refused for.
    """
    if job.stages not in ("both", "single"):
        raise SettingsError(f"--folds goes with --stages both or single; got {job.stages}")
    folds = split_folds(job.dataset, count, job.settings.seed)
    empty = [stems for stems in folds if all(job.dataset.contents[stem].empty for stem in stems)]
    if empty:
        raise DataError(
            f"{len(empty)} of {count} folds have no foreground to validate on; expected a group "
            f"with foreground for each, so at most --folds {count - len(empty)}"
        )
    for stems in folds:
        new_record(replace(job, validation=stems))
    return folds


def _train_folds(job: TrainingJob, folds: Sequence[tuple[str, ...]]) -> str:
    count = len(folds)
    shared = replace(job.settings, max_minutes=job.settings.max_minutes / count)
    bar, names, rows = progress_bar(), [""], []
    for number, stems in enumerate(folds, 1):
        out = job.folder / f"fold-{number}"
        resume = job.resume and (out / RUN_FILE).exists()
        due = job.started + (number - 1) * shared.max_minutes * 60
        bar.log(f"Fold {number} of {count}, validated on {len(stems)} images: {out}")
        fold = replace(job, settings=shared, folder=out, resume=resume, validation=stems)
        run = train_on(replace(fold, started=min(due, time.monotonic())))
        names = [*run.record["spec"]["classes"][1:], "mean"]
        rows.append((out.name, *_judge(job, run.folder, partial(bar.update, "judging"))))
    columns = [column[~np.isnan(column)] for column in np.array([row[2] for row in rows]).T]
    mean = [float(values.mean()) if len(values) else np.nan for values in columns]
    deviation = [float(values.std(ddof=1)) if len(values) > 1 else np.nan for values in columns]
    content = {
        "folds": [
            {"run": name, "images": images, "dice": _named(names, values)}
            for name, images, values in rows
        ],
        "mean": _named(names, mean),
        "deviation": _named(names, deviation),
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(job.folder / FOLDS_FILE, text.encode())
    lines = ["Dice on all validation images of each fold, at their own size"]
    lines.append(_line("fold", "images", names))
    lines += [_line(name, str(images), _figures(values)) for name, images, values in rows]
    lines += [_line("mean", "", _figures(mean)), _line("deviation", "", _figures(deviation))]
    return "\n".join(lines)


def _judge(
    job: TrainingJob, folder: Path, progress: Callable[[int, int], None]
) -> tuple[int, list[float]]:
    """Return the number of validation images of a run, and the Dice of each class and their mean.

    NaN where there is nothing to find.
    """
    from foveate.train.calibration.image_dice import class_means
    from foveate.train.runs.run import validation_dice

    scores = validation_dice(folder, job.dataset, progress)
    dice = class_means(scores)
    found = [value for value in dice if not np.isnan(value)]
    return len(scores), [*dice, float(np.mean(found)) if found else np.nan]


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else round(value, 5)
        for name, value in zip(names, values, strict=True)
    }


def _figures(values: Sequence[float]) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.4f}" for value in values]


def _line(name: str, images: str, cells: Sequence[str]) -> str:
    return f"{name:<10} {images:>6} " + " ".join(f"{cell:>10}" for cell in cells)
