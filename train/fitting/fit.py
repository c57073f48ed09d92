"""Fitting: both stages, or the one-stage network they are compared with, into a run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.errors import FoveateError
from foveate.runtime.spec import CascadeSpec, Normalisation
from foveate.train.calibration.decision import choose_threshold
from foveate.train.data.augment import augmentation
from foveate.train.data.full_images import FullImages
from foveate.train.data.full_views import FullCrops, WholeAtOwnSize
from foveate.train.data.views import ViewSource, WholeImages, WholeView, whole_item, whole_views
from foveate.train.fitting.busy import busy_note
from foveate.train.fitting.checks import known_before
from foveate.train.fitting.distributed import Processes, join
from foveate.train.fitting.stage2 import Stage2
from foveate.train.fitting.steps import Items, Task, Views
from foveate.train.fitting.trainer import Trainer
from foveate.train.networks.base import Network
from foveate.train.networks.build import networks
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.initial import Initial
from foveate.train.runs.job import TrainingJob, lock_run
from foveate.train.runs.record import is_finished, start_record


def fit(job: TrainingJob) -> dict[str, Any]:
    """Train what ``job.stages`` names and return the run's record; a finished run stays as it is.

    Started by ``torchrun`` every process calls it; the first alone writes.
    """
    if job.resume and is_finished(job):
        record = start_record(job)
        Initial(job, record)  # refuses what training on would refuse
        job.log(f"{job.folder} is finished: nothing is left to train.")
        return record
    processes = join(job.settings.device, job.settings.batch_size)
    full = FullImages(job.dataset, job.settings.cache_gb)
    for line in known_before(job, full.plan):  # refused before its folder is made
        job.log(line)
    with lock_run(job.folder):
        record = _fit(job, full, processes)
    processes.leave()
    return record


def _fit(job: TrainingJob, full: FullImages, processes: Processes) -> dict[str, Any]:
    quota = available_cores() if available_cores() < torch.get_num_threads() else 0
    if threads := job.settings.threads or quota:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    torch.manual_seed(job.settings.seed)
    record = processes.from_first(start_record(job) if processes.first else {})
    spec = CascadeSpec.from_dict(record["spec"])
    training, validation = record["data"]["training"], record["data"]["validation"]
    views = whole_views(
        full,
        [*training, *validation],
        spec.stage1,
        partial(job.progress, "preparing views"),
    )
    if spec.normalisation.mode == "constants":
        constants = _constants([views[stem] for stem in training])
        record["spec"] = replace(spec, normalisation=constants).as_dict()
    stage1, stage2 = networks(spec, job.settings.networks)
    if job.stages == "2" and not record["stages"].get("stage1", {}).get("done"):
        raise FoveateError(f"stage 1 of {job.folder} is not done; train it with --stages 1 first")
    initial = Initial(job, record)
    trainer = Trainer(job, record, processes)
    if note := busy_note(torch.get_num_threads()):
        job.log(note)
    if job.settings.max_minutes:
        job.log(trainer.plan())
    initial.into(stage1, "stage1")
    _fit_stage1(trainer, stage1, views, full)
    if stage2 is None:
        _decide_single(trainer, stage1, full)
    elif job.stages != "1":
        if job.settings.networks.equal:
            stage2.start_from(stage1)
        initial.into(stage2, "stage2")
        Stage2(trainer, views, full, initial).fit(stage1, stage2)
    trainer.clean()
    return record


def _fit_stage1(
    trainer: Trainer, network: Network, views: dict[str, WholeView], full: FullImages
) -> None:
    """Fit stage 1 (or single)."""
    job, record = trainer.job, trainer.record
    spec = CascadeSpec.from_dict(record["spec"])
    training, validation = record["data"]["training"], record["data"]["validation"]
    augment = augmentation(job.settings)
    source = ViewSource(full, views, training, spec, augment, job.settings.seed)
    data: Views = FullCrops(source) if spec.pad_multiple else WholeImages(source)
    items: Items = [whole_item(views[stem], spec) for stem in validation]
    if spec.pad_multiple:
        items = WholeAtOwnSize(full, validation, spec)
    task = Task("stage1", "Stage 1", data, items, len(training))
    trainer.fit(task, network)


def _decide_single(trainer: Trainer, network: Network, full: FullImages) -> None:
    """Choose the mask threshold of a one-stage network."""
    stage = trainer.record["stages"]["stage1"]
    if "decisions" in stage:
        return
    spec = CascadeSpec.from_dict(trainer.record["spec"])
    cascade = TorchCascade(spec, network.cpu(), None).eval()
    validation = trainer.record["data"]["validation"]
    choice = partial(choose_threshold, cascade, full, validation)
    trainer.choose(stage, "decisions", choice)


def _constants(views: Sequence[WholeView]) -> Normalisation:
    """Return mean and deviation over the training images, in units of the full scale."""
    pixels = np.stack(
        [[view.image.mean(dtype=np.float64), view.image.astype(float).var()] for view in views]
    )
    mean = float(pixels[:, 0].mean())
    variance = float((pixels[:, 1] + (pixels[:, 0] - mean) ** 2).mean())
    return Normalisation("constants", mean, max(math.sqrt(variance), 1e-4))
