"""From files to files: every worker carries an image from decoding to its line in the journal.

One bad file stops nothing else. What stops a run is an engine that fails or a folder that cannot
be written to; what is written then stays, and ``--resume`` goes on from there.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from foveate.runtime.batcher import Batcher
from foveate.runtime.cascade import Cascade
from foveate.runtime.crew import Crew
from foveate.runtime.engines.base import available_cores
from foveate.runtime.errors import DeviceMemoryError, GraphError, ImageError
from foveate.runtime.image_files import read_image
from foveate.runtime.inputs import Item
from foveate.runtime.journal import Journal, Writer
from foveate.runtime.outputs import OutputSettings, write_outputs
from foveate.runtime.pixel_budget import PixelBudget
from foveate.runtime.result_lines import result_line
from foveate.runtime.resume import stamp
from foveate.runtime.stage_times import ImageTimes, StageTimes
from foveate.runtime.work_plan import WorkPlan

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a folder that no other file would escape."""


@dataclass(frozen=True)
class Failure:
    """An input that gave no mask, and why."""

    input: str
    reason: str
    page: int = 0

    def as_line(self) -> dict[str, Any]:
        page = {"page": self.page} if self.page else {}
        return {"input": self.input, **page, "reason": self.reason}


@dataclass(frozen=True)
class Job:
    """Items to segment, what is written of each, and where."""

    items: Sequence[Item]
    journal: Journal
    outputs: OutputSettings = OutputSettings()
    fail_fast: bool = False


@dataclass
class Report:
    """What became of a run. ``seconds`` counts from the first decode to the last write.

    ``engines`` counts the masks of each engine and precision; ``stages`` says where the cores'
    time went; ``stopped`` why a run ended early.
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


def segment_files(
    cascade: Cascade,
    job: Job,
    plan: WorkPlan,
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Report:
    """Segment every item of a job and return what became of them.

    Files are written under a temporary name and renamed, then the line goes into the journal; a
    failure has its line in ``failures.jsonl``. ``stop`` ends the run after what is in hand.
    Raises EngineError when the engine fails, OSError when nothing more can be written.
    """
    stop = stop or threading.Event()
    report, stages = Report(), StageTimes(available_cores())
    with ExitStack() as opened:
        results = opened.enter_context(Writer(job.journal.results))
        failures = opened.enter_context(Writer(job.journal.failures))
        worker = _Worker(cascade, job, plan, results, stages)
        started = time.monotonic()
        crew = Crew(worker.one, plan.workers, stop)
        try:
            for done in crew.run(job.items):
                _count(report, done)
                if isinstance(done, Failure):
                    failures.add(done.as_line())
                    if job.fail_fast:
                        stop.set()
                failed = len(report.failures)
                number = report.written + failed
                progress(Progress(number, len(job.items), failed, stages.bottleneck))
        finally:
            report.seconds = time.monotonic() - started
            report.stages = stages.summary(report.images_per_second)
    return report


@dataclass(frozen=True)
class Written:
    """An image whose mask is written, by which engine, and whether the mask is empty."""

    engine: str
    empty: bool


def _count(report: Report, done: Written | Failure) -> None:
    if isinstance(done, Failure):
        report.failures.append(done)
        return
    report.written += 1
    report.empty += done.empty
    report.engines[done.engine] = report.engines.get(done.engine, 0) + 1


class _Worker:
    """The work on one item; called by several threads."""

    def __init__(
        self, cascade: Cascade, job: Job, plan: WorkPlan, results: Writer, stages: StageTimes
    ) -> None:
        self._cascade, self._job, self._results, self._stages = cascade, job, results, stages
        self._threads = plan.threads
        self._segment = Batcher(cascade, plan.batch)
        self._budget = PixelBudget()

    def one(self, item: Item) -> Written | Failure:
        """Return what became of an item; what is not its own fault is raised."""
        try:
            return self._one(item)
        except (ImageError, GraphError, DeviceMemoryError) as error:
            return Failure(str(item.path), str(error), item.page)
        except MemoryError:
            return Failure(str(item.path), "there is no memory for it; try --workers 1", item.page)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            reason = f"mask not written: {error.strerror or error}"
            return Failure(str(item.path), reason, item.page)

    def _one(self, item: Item) -> Written:
        job, spec, times = self._job, self._cascade.spec, ImageTimes(self._threads)
        read = stamp(item)
        with times.stage("decode"):
            image = read_image(item.path, item.page)
        with self._budget.room(image.size):
            with times.stage("engine"):
                result = self._segment(image, job.outputs.probability)
            with times.stage("encode"):
                files = write_outputs(
                    job.outputs, job.journal.out, item.name, image, result, spec
                )
        line = result_line(str(item.path), item.page, files, image.shape, result, spec)
        line |= {**read, "files": files}
        line["ms"] |= {n: round(times.wall_ms[n], 3) for n in ("decode", "encode")}
        self._results.add(line)
        self._stages.add(times)
        return Written(result.engine, "empty" in line["flags"])
