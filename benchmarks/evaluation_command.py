"""One call of ``foveate evaluate``: what is asked for, what is written, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foveate.benchmarks.evaluation import files
from foveate.benchmarks.evaluation.evaluate import Evaluation, evaluate
from foveate.benchmarks.evaluation.models import BundleModel, EvaluationJob, Model
from foveate.benchmarks.evaluation.summary import Summary, summarise
from foveate.benchmarks.report.evaluation_page import write_page
from foveate.benchmarks.report.tables.evaluation import evaluation_text
from foveate.runtime.atomic_files import check_writable, write_atomically
from foveate.runtime.bundle.bundle import RUN_FILE, is_bundle
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import BundleError, DataError, EngineError, SettingsError
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.window import chosen_window
from foveate.train.data.dataset import load_dataset, read_stems
from foveate.train.settings.mask_rules import MaskRules

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """The options of the command line, by their names there."""

    model: Path
    data: Path
    single: Path | None = None
    stem_list: Path | None = None
    out: Path | None = None
    csv_path: Path | None = None
    tolerance: float = 2.0
    image_dir_name: str = "images"
    mask_dir_name: str = "masks"
    window: str = ""
    mask_threshold: int = 0
    mask_values: str = ""
    mask_colours: str = ""
    mask_instances: bool = False
    ignore_value: int = -1
    pixel_size: str = ""
    decide: Decision = Decision()
    sweep: bool = False


@dataclass(frozen=True)
class Report:
    """A finished evaluation, as text and as JSON values. ``seen`` warns of training images."""

    request: Request
    job: EvaluationJob
    found: Evaluation
    summary: Summary
    seen: str

    def as_json(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds; no path is in it."""
        return files.summary_json(self.job, self.found, self.summary)

    def as_text(self) -> str:
        """Return what the terminal shows."""
        listed = f", {self.request.stem_list}" if self.request.stem_list else ""
        head = f"{self.summary.images} images of {self.request.data}{listed}{self.seen}"
        page = f"\n\nPage: {self.request.out / 'index.html'}" if self.request.out else ""
        return f"{head}\n\n{evaluation_text(self.summary, self.job.tolerance)}{page}"


def _seen(request: Request, job: EvaluationJob) -> str:
    """Return a warning about images that the model was trained on, or that it was chosen by."""
    path, test = request.data / "train.txt", request.data / "test.txt"
    stems, model = set(job.dataset.stems), job.model
    trained, chosen = (len(stems.intersection(part)) for part in (model.training, model.validation))
    notes = []
    if trained:
        notes.append(f"{trained} of them are training images of this run.")
    if chosen:
        notes.append(f"{chosen} are its validation images: box and thresholds were chosen by them.")
    if not model.training and path.is_file():
        held = request.data / "val.txt"
        listed = set(read_stems(path)) - set(read_stems(held) if held.is_file() else ())
        known = len(stems & listed)
        if known:
            notes.append(f"{known} of them stand in {path}.")
    if not notes:
        return ""
    others = f"--list {test}" if test.is_file() else "name others with --list"
    notes.append("Figures of images that a model was made with are too high.")
    notes.append(f"For a test: {others}")
    return "".join(f"\n{note}" for note in notes)


def _absent(job: EvaluationJob) -> str:
    """Return a warning about the model's classes that no mask holds."""
    held = {label for content in job.dataset.contents.values() for label in content.areas}
    absent = [name for label, name in enumerate(job.classes, 1) if label not in held]
    if not absent:
        return ""
    return (
        f"\nNo mask holds {', '.join(absent)}: what is found of that counts as false. Are these "
        "masks of other classes?"
    )


def run_evaluation(request: Request, progress: Progress) -> Report:
    """Evaluate, write the files asked for, and return the report.

    A run without a list is evaluated on its validation stems. Raises DataError, BundleError,
    EngineError and SettingsError, all before the first image is segmented but for unreadable
    images.
    """
    _check_request(request)
    job = _job(request, partial(progress, "checking the data"))
    seen = _seen(request, job) + _absent(job)
    found = evaluate(job, progress)
    report = Report(request, job, found, summarise(found), seen)
    if request.csv_path is not None:
        files.write_images_csv(request.csv_path, found)
    if request.out is not None:
        _write(request.out, report)
    return report


def _check_request(request: Request) -> None:
    """Raise SettingsError for what would fail only after all the work."""
    if not 0 <= request.tolerance < float("inf"):
        raise SettingsError(f"--tolerance is {request.tolerance}; expected pixels, 0 or more")
    if request.out is not None:
        try:
            check_writable(request.out)
        except OSError as error:
            raise SettingsError(
                f"--out {request.out} is not a folder that can be written ({error.strerror}); "
                "choose another"
            ) from error
    if request.csv_path is not None and not request.csv_path.parent.is_dir():
        raise SettingsError(
            f"--csv {request.csv_path}: {request.csv_path.parent} is not a folder; make it first"
        )


def _job(request: Request, progress: Callable[[int, int], None]) -> EvaluationJob:
    model = open_model(request.model)
    single = open_model(request.single) if request.single else None
    listed = read_stems(request.stem_list) if request.stem_list else list(model.validation)
    window = chosen_window(request.window, model.spec)
    size = PixelSize.parse(request.pixel_size) if request.pixel_size else None
    rules = MaskRules.of_settings(vars(request))
    rules = (rules if rules.words else model.masks).for_classes(model.spec.classes[1:])
    try:
        dataset = load_dataset(
            request.data,
            request.image_dir_name,
            request.mask_dir_name,
            listed or None,
            progress,
            window=window,
            rules=rules,
            channels=model.spec.channels,
        )
    except DataError as error:
        if request.stem_list or not listed:
            raise
        raise DataError(
            f"{error}. Looked for the validation stems of {request.model}; --list names others"
        ) from error
    return EvaluationJob(
        model, dataset, single, request.tolerance, size, request.decide, request.sweep
    )


def _write(out: Path, report: Report) -> None:
    """Write the files; one that exists is replaced whole."""
    files.write_images_csv(out / "images.csv", report.found)
    files.write_objects_csv(out / "objects.csv", report.found)
    if report.summary.sweep:
        files.write_sweep_csv(out / "sweep.csv", report.summary.sweep)
    text = json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n"
    write_atomically(out / "summary.json", text.encode())
    write_page(out / "index.html", report.job, report.found, report.summary)


def open_model(path: Path) -> Model:
    """Return the model of a run or a bundle; EngineError when a run lacks its torch."""
    if is_bundle(path):
        return BundleModel(path)
    if not (path / RUN_FILE).exists():
        raise BundleError(f"{path}: neither a bundle (manifest.json) nor a run (run.json)")
    try:
        from foveate.benchmarks.evaluation.torch_model import TorchModel
    except ImportError as error:
        raise EngineError(
            f"{path} is a run, and evaluating it needs {error.name}: pip install "
            "'foveate[train]', or evaluate the bundle exported from it"
        ) from None
    return TorchModel(path)
