"""From files to files: every worker carries an image from decoding to its mask.

One bad file stops nothing else. What stops a run is an engine that fails or a folder that cannot
be written to; what is written then stays, and ``--resume`` goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import available_cores
from foveate.runtime.io.inputs import Item
from foveate.runtime.io.outputs import OutputSettings
from foveate.runtime.segment.concurrency import WorkPlan
from foveate.runtime.segment.item_worker import Failure, ItemWorker, Written
from foveate.runtime.segment.journal import Journal, Writer
from foveate.runtime.segment.stage_times import StageTimes
from foveate.runtime.segment.watch import Watch
from foveate.runtime.segment.workers import Crew


@dataclass(frozen=True)
class Job:
    """Items to segment, what is written of each, and where."""

    items: Sequence[Item] | Watch
    journal: Journal
    outputs: OutputSettings = OutputSettings()
    fail_fast: bool = False


@dataclass
class Report:
    """What became of a run. ``seconds`` counts from the first decode to the last write.

    ``engines`` counts the masks of each engine and precision; ``stages`` says where the cores'
    time went (``StageTimes.summary``).
    """

    written: int = 0
    empty: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    engines: dict[str, int] = field(default_factory=dict)
    stages: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.written / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    failed: int
    bottleneck: str


class Tally(Closing):
    """Writes what became of each item into the journal, and counts."""

    def __init__(self, job: Job, cores: int, progress: Callable[[Progress], None]) -> None:
        self.report = Report()
        self._job, self._progress = job, progress
        self._stages = StageTimes(cores)
        self._results, self._failures = Writer(job.journal.results), Writer(job.journal.failures)
        self._started = time.monotonic()
        progress(Progress(0, len(job.items), 0, ""))

    def add(self, done: Written | Failure) -> None:
        """Write the line of an item; OSError names the file that has no room for it."""
        report = self.report
        if isinstance(done, Failure):
            report.failures.append(done)
            self._failures.add(done.line)
        else:
            self._results.add(done.line)
            self._stages.add(done.core_ms)
            self._mended(done.line)
            report.written += 1
            report.empty += "empty" in done.line["flags"]
            engine = done.line["engine"]
            report.engines[engine] = report.engines.get(engine, 0) + 1
        failed = len(report.failures)
        total, bottleneck = len(self._job.items), self._stages.bottleneck
        self._progress(Progress(report.written + failed, total, failed, bottleneck))

    def _mended(self, line: Mapping[str, Any]) -> None:
        """Take what had failed and was done now, in a folder that is watched, off the failures."""
        failures = self.report.failures
        if isinstance(self._job.items, Watch) and failures:
            done = (line["input"], line["page"])
            self.report.failures = [one for one in failures if (one.input, one.page) != done]

    def check(self) -> None:
        """Raise OutputError where the journal is not there any more."""
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
    job: Job,
    plan: WorkPlan,
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Report:
    """Segment every item of a job and return what became of them.

    Files are written under a temporary name and renamed, then the line goes into the journal; a
    failure has its line in ``failures.jsonl``. ``stop`` ends the run after what is in hand; a
    watched folder has no other end.
    Raises EngineError when the engine fails, OSError when nothing more can be written.
    """
    stop = stop or threading.Event()
    job.journal.out.mkdir(parents=True, exist_ok=True)
    worker = ItemWorker(cascade, job.outputs, job.journal.out, plan)
    outcomes = Crew(worker, plan.workers, stop).run(job.items)
    if isinstance(job.items, Watch):
        outcomes = job.items.outcomes(outcomes)
    return tally(outcomes, job, available_cores(), progress, stop)


def tally(
    outcomes: Generator[Written | Failure, None, None],
    job: Job,
    cores: int,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> Report:
    """Write what comes of a job on so many cores into its journal and return what became of it.

    With ``fail_fast`` a failure sets ``stop``, which is to end the outcomes.
    """
    with Tally(job, cores, progress) as counted, closing(outcomes):
        for done in outcomes:
            counted.add(done)
            if job.fail_fast and isinstance(done, Failure):
                stop.set()
        counted.check()
    return counted.report
