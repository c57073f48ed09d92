"""One training as it is asked for; imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import FoveateError
from foveate.runtime.segment.run_lock import locked
from foveate.train.data.dataset import DataSet
from foveate.train.settings.settings import Settings


@dataclass(frozen=True)
class TrainingJob:
    """The data, the settings, and the folder of the run.

    ``stages`` is both, 1, 2 or single. ``init`` is a run whose weights the networks begin with.
    ``validation`` are the stems to validate on; None draws ``val_fraction`` of them.
    ``watch`` is called after every epoch, when it is kept, with the stage's name in ``run.json``
    and the row of its curve: epoch (from 1), loss, dice (of the validation views), rate (the last
    learning rate), seconds. What it raises ends the training; the run can be resumed.
    ``choices`` are the settings that were chosen from the data, a line each with the reason.
    ``notes`` are logged once nothing refuses the training.
    ``started`` is when its ``max_minutes`` began, by ``time.monotonic``.
    """

    dataset: DataSet
    settings: Settings
    folder: Path
    stages: str = "both"
    resume: bool = False
    init: Path | None = None
    validation: tuple[str, ...] | None = None
    watch: Callable[[str, Mapping[str, Any]], None] = lambda stage, row: None
    log: Callable[[str], None] = lambda text: None
    progress: Callable[[str, int, int], None] = lambda text, done, total: None
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)


ORPHANS_S = 8.0
"""The workers of a training that was killed hold its lock until they notice, within 5 s."""


def lock_run(folder: Path) -> AbstractContextManager[None]:
    """Lock a run's folder, made if it is missing; SettingsError where another training holds it.

    Of the processes that ``torchrun`` starts only the first locks it.
    """
    first = os.environ.get("RANK", "0") == "0"
    return locked(folder, wait_s=ORPHANS_S) if first else nullcontext()


def check_unused(folder: Path) -> None:
    """Raise FoveateError where a folder holds a run, or the runs of folds."""
    if (folder / RUN_FILE).exists() or any(folder.glob(f"fold-*/{RUN_FILE}")):
        raise FoveateError(f"{folder} already holds a run; add --resume, or choose another --out")
