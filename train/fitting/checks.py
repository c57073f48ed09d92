"""What is known before the first step of a training, and what would end it later."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from foveate.runtime.errors import OutputError
from foveate.runtime.spec import CascadeSpec
from foveate.train.data.full_images import CachePlan, size_words
from foveate.train.data.summary import describe
from foveate.train.networks.build import networks
from foveate.train.runs.initial import Initial
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.record import new_record, start_record

COPIES = 13
"""Of the largest network: two states of five (weights, average, best, AdamW's two), three bests."""


def known_before(job: TrainingJob, plan: CachePlan) -> list[str]:
    """Return what is known of a training, a line each; FoveateError for what would end it later.

    Nothing is written. ``plan`` is where its images will be kept.
    """
    continues = job.resume or job.stages == "2"
    record = start_record(job) if continues else new_record(job)
    if not continues:
        Initial(job, record)
    spec = CascadeSpec.from_dict(record["spec"])
    _check_room(job, spec)
    training, validation = record["data"]["training"], record["data"]["validation"]
    lines = [*job.notes, *describe(job.dataset, training, validation, spec), plan.words]
    if not find_spec("onnx"):
        lines.append("Note: foveate export will need onnx: pip install 'foveate[train]'")
    return lines


def _check_room(job: TrainingJob, spec: CascadeSpec) -> None:
    """Raise OutputError where the disk of the run's folder has no room for its weights."""
    sizes = [
        sum(parameter.nbytes for parameter in network.parameters())
        for network in networks(spec, job.settings.networks)
        if network is not None
    ]
    expected, folder = COPIES * max(sizes), _existing(job.folder.absolute())
    free = shutil.disk_usage(folder).free
    if free < expected:
        raise OutputError(
            f"{folder}: {size_words(free)} are free and the run takes about "
            f"{size_words(expected)}; make room, or choose another --out"
        )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
