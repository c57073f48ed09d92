"""Tuning: trials of a study, each a training, judged by validation Dice at the images' own size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import FoveateError, SettingsError
from foveate.runtime.segment.run_lock import locked
from foveate.train.calibration.image_dice import mean_dice_of
from foveate.train.data.dataset import DataSet
from foveate.train.fitting.schedule import shares
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.record import OF_THE_MACHINE
from foveate.train.runs.run import validation_dice
from foveate.train.settings.settings import Settings
from foveate.train.training import train_on
from foveate.train.tuning.report import write_report
from foveate.train.tuning.space import Range
from foveate.train.tuning.study import Study

TIME_STEPS = 20
"""With ``max_minutes`` trials are compared at twentieths of a stage's time, not by epochs."""


@dataclass(frozen=True)
class Plan:
    """What one call of ``foveate tune`` asks for.

    ``fixed`` are settings by name, those of every trial; ``space`` is searched. ``trials`` counts
    all finished trials of the study; none begins after ``max_minutes`` (0: no limit).
    """

    fixed: Mapping[str, Any]
    space: tuple[Range, ...]
    out: Path
    trials: int
    max_minutes: float = 0.0

    @property
    def settings(self) -> Settings:
        """The settings of the first trial: what is fixed, and the defaults."""
        return Settings(**self.fixed)


def tune(dataset: DataSet, plan: Plan) -> Study:
    """Run the trials that are missing and return the study; call it again to go on.

    Every trial is a run in ``plan.out``/trials/NNN; ``plan.out``/best is a link to the best one.
    SettingsError when another process has the study open, or when it was started with other
    settings, data or ranges.
    """
    if plan.trials < 1 or plan.max_minutes < 0:
        raise SettingsError(
            f"--trials is {plan.trials}, --max-minutes {plan.max_minutes}; "
            "expected 1 or more trials"
        )
    started = time.monotonic()
    with locked(plan.out):
        study = Study(plan.out, plan.space, plan.settings.seed, _steps(plan.settings) // 3)
        study.check(_identity(dataset, plan))
        while len(study.trials) < plan.trials:
            if plan.max_minutes and time.monotonic() - started > plan.max_minutes * 60:
                break
            _try(study, dataset, plan)
            write_report(study)
    return study


def _try(study: Study, dataset: DataSet, plan: Plan) -> None:
    """Train and judge one trial."""
    bar = Bar()
    trial, values = study.ask(plan.settings)
    out = study.run_folder(trial.number)
    said = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in values.items())  # fmt: skip
    bar.log(f"Trial {trial.number} ({len(study.trials) + 1} of {plan.trials}): {said}")
    try:
        settings = Settings(**{**plan.fixed, **values})
        train_on(TrainingJob(dataset, settings, out, watch=_pruning(trial, settings)))
        dice = mean_dice_of(validation_dice(out, dataset, partial(bar.update, "judging")))
    except optuna.TrialPruned:
        study.prune(trial)
        bar.log(f"Trial {trial.number}: ended early, below the median of the others.")
    except FoveateError as error:
        study.fail(trial, str(error))
        bar.log(f"Trial {trial.number}: failed: {error}")
    else:
        study.tell(trial, dice)
        bar.log(f"Trial {trial.number}: validation Dice {dice:.4f} at the images' own size")


def _pruning(trial: optuna.Trial, settings: Settings) -> Callable[[str, Mapping[str, Any]], None]:
    """Return what ends a training that does worse than the median of the earlier ones."""
    last = -1

    def watch(stage: str, row: Mapping[str, Any]) -> None:
        nonlocal last
        if stage not in ("stage1", "stage2"):
            return  # a fold's network only answers for stage 2's training
        step = step_of(settings, stage, row)
        if step == last:
            return
        last = step
        trial.report(row["dice"], step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return watch


def step_of(settings: Settings, stage: str, row: Mapping[str, Any]) -> int:
    """Return how far a training is, for comparison: stage 2 begins where stage 1 ends."""
    each = _steps(settings)
    if settings.max_minutes:
        share = row["seconds"] / (settings.max_minutes * 60 * shares(settings, "both")[stage])
        along = min(int(share * each), each - 1)
    else:
        along = row["epoch"] - 1
    return int(along) + (each if stage == "stage2" else 0)


def _steps(settings: Settings) -> int:
    return TIME_STEPS if settings.max_minutes else settings.num_epochs


def _identity(dataset: DataSet, plan: Plan) -> dict[str, Any]:
    """Return what must not change while a study goes on."""
    free = {"data_dir", *OF_THE_MACHINE, *(item.name for item in plan.space)}
    kept = {name: value for name, value in plan.settings.as_dict().items() if name not in free}
    space = {item.name: item.as_dict() for item in plan.space}
    return {"data": dataset.fingerprint, "space": space, **kept}
