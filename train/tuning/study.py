"""A study: the trials of a tuning, kept in an SQLite file that outlives a killed process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from foveate.runtime.errors import SettingsError
from foveate.train.settings.settings import Settings
from foveate.train.tuning.space import Range

DATABASE = "study.db"
TRIALS = "trials"
BEST = "best"
NAME = "foveate"
REASON = "reason"
"""Attribute of a trial that failed by itself; one whose process died has none, and is repeated."""
STARTUP = 5
"""Trials that are never pruned: fewer have no median to trust."""


class Study:
    """Asks for trials and is told their results. One process at a time has it open.

    The sampler's seed is the study's and the number of finished trials, so a study that was killed
    asks for the same settings again.
    """

    def __init__(self, folder: Path, space: Sequence[Range], seed: int, warm_up: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.space, self._seed = folder, space, seed
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
        (folder / DATABASE).touch()  # SQLite alone would deny it to the group, whatever the umask
        self._study = optuna.create_study(
            storage=URL.create("sqlite", database=str(folder / DATABASE)).render_as_string(),
            study_name=NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(STARTUP, warm_up),
        )
        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def check(self, identity: Mapping[str, Any]) -> None:
        """Keep what the study is about; SettingsError names what a resumed one has otherwise."""
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", dict(identity))
            return
        changed = [key for key in identity if known.get(key) != identity[key]]
        if changed:
            said = "; ".join(f"{key}: {known.get(key)} -> {identity[key]}" for key in changed)
            raise SettingsError(
                f"{self.folder} is a study of other things ({said}); choose another --out"
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """Finished trials in the order of their numbers: complete, pruned or failed."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        return [
            trial
            for trial in self._study.get_trials()
            if trial.state in ended or REASON in trial.user_attrs
        ]

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial with the highest Dice, the first of equals; None before one is."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def run_folder(self, number: int) -> Path:
        """Return where the run of a trial is."""
        return self.folder / TRIALS / f"{number:03d}"

    def ask(self, settings: Settings) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return the next trial and the values it sets; the first one has those of ``settings``."""
        done = len(self.trials)
        self._study.sampler = optuna.samplers.TPESampler(seed=(self._seed + done) % 2**32)
        if not done and not self._study.get_trials(states=[TrialState.WAITING]):
            self._study.enqueue_trial(_as_they_are(self.space, settings))
        trial = self._study.ask()
        return trial, {item.name: _suggest(trial, item) for item in self.space}

    def tell(self, trial: optuna.Trial, dice: float) -> None:
        """Keep a trial's Dice, and let ``best`` point to the best run."""
        self._study.tell(trial, dice)
        best = self.best
        assert best is not None
        temporary = self.folder / f".{BEST}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(TRIALS) / f"{best.number:03d}")
        os.replace(temporary, self.folder / BEST)

    def prune(self, trial: optuna.Trial) -> None:
        """Keep that a trial was ended early."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Keep that a trial cannot be trained, and why; it is not repeated."""
        trial.set_user_attr(REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)


def _suggest(trial: optuna.Trial, item: Range) -> Any:
    """Return the value that a trial gives a setting."""
    if item.choices:
        return trial.suggest_categorical(item.name, item.choices)
    if isinstance(getattr(Settings, item.name), int):
        return trial.suggest_int(item.name, int(item.low), int(item.high), log=item.log)
    return trial.suggest_float(item.name, item.low, item.high, log=item.log)


def _as_they_are(space: Sequence[Range], settings: Settings) -> dict[str, Any]:
    values = {item: getattr(settings, item.name) for item in space}
    return {item.name: value for item, value in values.items() if item.holds(value)}
