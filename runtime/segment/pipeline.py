"""Segment files into files: each worker takes an image from decoding to its written mask.

One corrupt file never stops the run. A failing engine or an output folder that cannot be written to
does; what is written then stays, and ``--resume`` continues from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from foveate.runtime.auto.other_load import OtherLoad
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.closeable import Closeable
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.inputs import Item
from foveate.runtime.io.outputs import OutputSettings
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.item_worker import Failure, ItemWorker, Written
from foveate.runtime.segment.journal import Journal, Writer
from foveate.runtime.segment.stage_times import StageTimes
from foveate.runtime.segment.watch import Watch
from foveate.runtime.segment.workers import WorkerPool


@dataclass(frozen=True)
class SegmentJob:
    """The items to segment, the outputs of each, and the journal of the folder.

    ``window`` as ``--window`` has it, "" for that of the bundle; ``pixel_size`` of all images, None
    for what each file states.
    """

    items: Sequence[Item] | Watch
    journal: Journal
    outputs: OutputSettings = OutputSettings()
    fail_fast: bool = False
    window: str = ""
    pixel_size: PixelSize | None = None
    decision: Decision = Decision()


@dataclass
class Report:
    """The counts of a run. ``seconds``: from the first decode to the last write.

    ``image_types``: images by the type of their pixels; ``low_range``: images with that flag, of
    which ``low_range_first`` is the first. ``read_as``: images whose channels were converted, by
    those they have now. ``engines``: masks by engine and precision; ``stages``:
    where the cores' time went (``StageTimes.summary``).
    """

    written: int = 0
    empty: int = 0
    image_types: dict[str, int] = field(default_factory=dict)
    read_as: dict[str, int] = field(default_factory=dict)
    low_range: int = 0
    low_range_first: str = ""
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    engines: dict[str, int] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.written / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Progress:
    """How far a run has got: items done, in total and failed, and the slowest stage.

    ``outcome`` is that of the latest item, None before the first.
    """

    done: int
    total: int
    failed: int
    bottleneck: str
    outcome: Written | Failure | None = None


class OutcomeRecorder(Closeable):
    """Write the outcome of each item into the journal, and count."""

    def __init__(
        self, job: SegmentJob, stages: StageTimes, progress: Callable[[Progress], None]
    ) -> None:
        self.report = Report()
        self._job, self._progress, self._stages = job, progress, stages
        self._results, self._failures = Writer(job.journal.results), Writer(job.journal.failures)
        self._started = time.monotonic()
        progress(Progress(0, len(job.items), 0, ""))

    def add(self, outcome: Written | Failure) -> None:
        """Write the line of an item; OSError names the file that cannot take it."""
        report = self.report
        if isinstance(outcome, Failure):
            report.failures.append(outcome)
            self._failures.add(outcome.line)
        else:
            self._results.add(outcome.line)
            self._stages.add(outcome.core_ms)
            self._drop_failures(outcome.line)
            self._count(outcome.line)
        failed = len(report.failures)
        total, bottleneck = len(self._job.items), self._stages.bottleneck
        self._progress(Progress(report.written + failed, total, failed, bottleneck, outcome))

    def _count(self, line: Mapping[str, Any]) -> None:
        report = self.report
        report.written += 1
        report.empty += "empty" in line["flags"]
        if "low_range" in line["flags"]:
            report.low_range += 1
            report.low_range_first = report.low_range_first or line["input"]
        for counts, name in (
            (report.engines, line["engine"]),
            (report.image_types, line["image_type"]),
            (report.read_as, line.get("read_as")),
        ):
            if name:
                counts[name] = counts.get(name, 0) + 1

    def _drop_failures(self, line: Mapping[str, Any]) -> None:
        """Drop earlier failures of an input that a watched folder has now succeeded with."""
        failures = self.report.failures
        if isinstance(self._job.items, Watch) and failures:
            done = (line["input"], line["page"])
            self.report.failures = [one for one in failures if (one.input, one.page) != done]

    def check(self) -> None:
        """Raise OutputError if the journal has been removed."""
        self._results.check()
        self._failures.check()

    def close(self) -> None:
        """Close the journal and complete the report."""
        self._results.close()
        self._failures.close()
        self.report.seconds = time.monotonic() - self._started
        self.report.stages = self._stages.summary(self.report.images_per_second)


def segment_files(
    cascade: Cascade,
    job: SegmentJob,
    concurrency: Concurrency,
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Report:
    """Segment every item of a job and return the counts.

    Files are written under a temporary name and renamed, then their line is appended to the
    journal; failures go to ``failures.jsonl``. ``stop`` ends the run after what is in flight; a
    watched folder ends only so. Raises EngineError when the engine fails, OSError when nothing more
    can be written.
    """
    stop = stop or threading.Event()
    job.journal.out.mkdir(parents=True, exist_ok=True)
    out, size = job.journal.out, job.pixel_size
    worker = ItemWorker(cascade, job.outputs, out, concurrency, job.window, size, job.decision)
    outcomes = WorkerPool(worker, concurrency.workers, stop).run(job.items)
    if isinstance(job.items, Watch):
        outcomes = job.items.outcomes(outcomes)
    stages = StageTimes(available_cores(), OtherLoad())
    return record_outcomes(outcomes, job, stages, progress, stop)


def record_outcomes(
    outcomes: Generator[Written | Failure, None, None],
    job: SegmentJob,
    stages: StageTimes,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> Report:
    """Write the outcomes of a job into its journal; return the counts. ``stages`` is new.

    With ``fail_fast`` a failure sets ``stop``, which must end ``outcomes``.
    """
    with OutcomeRecorder(job, stages, progress) as recorder, closing(outcomes):
        for outcome in outcomes:
            recorder.add(outcome)
            if job.fail_fast and isinstance(outcome, Failure):
                stop.set()
        recorder.check()
    return recorder.report
