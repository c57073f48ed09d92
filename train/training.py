"""Training as it is called, by ``foveate train`` and from Python: data, settings, a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import DataError, EngineError
from foveate.train.configure import Choice, configure
from foveate.train.data.dataset import DataSet, load_dataset, read_stems
from foveate.train.data.survey import survey
from foveate.train.settings.settings import Settings

if TYPE_CHECKING:
    from foveate.train.runs.record import TrainingJob

Watch = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Run:
    """A folder that a training wrote, and what its ``run.json`` says."""

    folder: Path
    record: dict[str, Any]

    def curve(self, stage: str) -> list[dict[str, Any]]:
        """Return a row an epoch of ``stage1`` or ``stage2``: epoch, loss, dice, rate, seconds."""
        rows: list[dict[str, Any]] = self.record["stages"].get(stage, {}).get("curve", [])
        return rows

    @property
    def best(self) -> dict[str, float]:
        """Best validation Dice of each stage, at the stage's own resolution."""
        stages: list[str] = list(self.record["stages"])
        return {
            name: max((row["dice"] for row in self.curve(name)), default=0.0) for name in stages
        }


@dataclass(frozen=True)
class TrainRequest:
    """What one call of training asks for next to its settings.

    ``stages`` is both, 1, 2 or single; None has it chosen. ``validation`` are the stems to
    validate on; None draws them. ``watch`` is called after every epoch, as ``TrainingJob.watch``
    is. The networks start from the weights of the run ``init``. ``choices`` are those that were
    made from the data.
    """

    out: Path
    stages: str | None = None
    resume: bool = False
    validation: tuple[str, ...] | None = None
    watch: Watch = lambda stage, row: None
    init: Path | None = None
    choices: tuple[Choice, ...] = ()


def train(
    settings: Settings | None = None,
    *,
    out: str | Path,
    stages: str | None = None,
    budget: str = "balanced",
    resume: bool = False,
    stem_list: str | Path | None = None,
    init: str | Path | None = None,
    **values: Any,
) -> Run:
    """Train on ``data_dir`` and return the run written to the folder ``out``.

    ``values`` are settings by name: ``train(data_dir="data/phantoms", out="runs/first",
    num_epochs=10)``; what they leave out is chosen from the data within ``budget`` (fast, balanced
    or best). With ``settings`` nothing is chosen; ``values`` go over them. ``stages`` is both, 1, 2
    or single; ``resume`` goes on with the run in ``out``; ``stem_list`` is a file of stems instead
    of ``train.txt``; ``init`` is a run whose weights the networks begin with. The log goes to
    stdout.

    Raises SettingsError, DataError, BundleError, EngineError and FoveateError.
    """
    given = values if settings is None else settings.but(**values).as_dict()
    dataset = open_data(Settings(**given), Path(stem_list) if stem_list else None)
    request = TrainRequest(Path(out), stages, resume, init=Path(init) if init else None)
    chosen, request = configured(dataset, given, request, budget)
    with explain_resume_on_interrupt(Path(out)):
        return train_on(dataset, chosen, request)


def configured(
    dataset: DataSet, given: Mapping[str, Any], request: TrainRequest, budget: str
) -> tuple[Settings, TrainRequest]:
    """Return settings and request with what was not given chosen from the data, and say what.

    A run that is continued has its choices already.
    """
    if (request.resume or request.stages == "2") and (request.out / RUN_FILE).exists():
        from foveate.train.runs.run import read_run

        record = read_run(request.out)
        whole = "single" if record["kind"] == "single" else "both"
        settings = Settings(**{**record["settings"], **given})
        return settings, replace(request, stages=request.stages or whole)
    bar = _bar()
    measured = survey(dataset, lambda done, total: bar.update("measuring targets", done, total))
    found = configure(measured, given, request.stages, budget)
    if found.choices:
        bar.log("Chosen from the data; --set NAME=VALUE overrides:")
    for choice in found.choices:
        bar.log(f"  {choice.words}")
    return found.settings, replace(request, stages=found.stages, choices=found.choices)


@contextmanager
def explain_resume_on_interrupt(out: Path) -> Iterator[None]:
    """Say on Ctrl-C what is kept, where something is."""
    try:
        yield
    except KeyboardInterrupt:
        if any(out.glob(f"**/{RUN_FILE}")):
            Bar().log(
                f"Whole epochs are kept. Continue with the same command and --resume, --out {out}"
            )
        raise


class _Mute(Bar):
    """Shows nothing."""

    def update(self, label: str, done: int, total: int, note: str = "") -> None:
        pass

    def log(self, text: str) -> None:
        pass


def _bar() -> Bar:
    """Return a progress line; of the processes that torchrun starts only the first shows one."""
    return Bar() if os.environ.get("RANK", "0") == "0" else _Mute()


def open_data(settings: Settings, stem_list: Path | None = None) -> DataSet:
    """Return the data set that the settings name, after looking at every mask of it.

    ``stem_list`` limits it; without, ``train.txt`` does when there is one.
    """
    if not settings.data_dir:
        raise DataError("no data set given: foveate train DATA --out RUN, or data_dir in --config")
    root = Path(settings.data_dir)
    bar = _bar()
    if stem_list is None and (root / "train.txt").exists():
        stem_list = root / "train.txt"
    dataset = load_dataset(
        root,
        settings.image_dir_name,
        settings.mask_dir_name,
        read_stems(stem_list) if stem_list else None,
        lambda done, total: bar.update("checking the data", done, total),
    )
    bar.log(
        f"{len(dataset.stems)} images, {dataset.classes} foreground class(es), masks stored as "
        f"{dataset.encoding}, {dataset.input_type}" + (f", from {stem_list}" if stem_list else "")
    )
    if dataset.unpaired:
        shown = ", ".join(dataset.unpaired[:5])
        bar.log(f"{len(dataset.unpaired)} masks have no image and are left out: {shown}")
    return dataset


def preview_of(
    dataset: DataSet, settings: Settings, folder: Path, stages: str | None
) -> list[Path]:
    """Write pictures of what the networks will see into a folder and return their paths."""
    try:
        from foveate.train.preview.sheets import write_preview
        from foveate.train.runs.record import TrainingJob
    except ImportError as error:
        raise EngineError(f"a preview needs {error.name}: pip install 'foveate[train]'") from None
    bar = Bar()
    return write_preview(
        TrainingJob(dataset, settings, folder, stages or "both", False, bar.log, bar.update), folder
    )


def train_on(dataset: DataSet, settings: Settings, request: TrainRequest) -> Run:
    """Train on a data set in memory; draw its curves."""
    try:
        from foveate.train.fitting.fit import fit
        from foveate.train.runs.curves import Curves
        from foveate.train.runs.record import TrainingJob, is_finished
    except ImportError as error:
        raise EngineError(f"training needs {error.name}: pip install 'foveate[train]'") from None
    bar = _bar()
    curves = Curves(request.out)

    def watch(stage: str, row: Mapping[str, Any]) -> None:
        curves.add(stage, row)
        request.watch(stage, row)

    job = TrainingJob(
        dataset, settings, request.out, request.stages or "both", request.resume, bar.log,
        bar.update, watch, request.init, request.validation,
        tuple(choice.words for choice in request.choices),
    )  # fmt: skip
    try:
        record = _as_it_is(job) if request.resume and is_finished(job) else fit(job)
    finally:
        curves.close()
    return Run(request.out, record)


def _as_it_is(job: TrainingJob) -> dict[str, Any]:
    """Return the record of a finished run, refused where training on would refuse it."""
    from foveate.train.runs.initial import Initial
    from foveate.train.runs.record import start_record

    record = start_record(job)
    Initial(job, record)
    return record
