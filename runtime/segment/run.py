"""One run of ``foveate segment``: what is asked for, what is settled, what came of it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from foveate.runtime.auto.choose import AUTO, Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing import idle_timer
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.bundle.signing import keys_in
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import Pixels, available_cores
from foveate.runtime.engines.load_settings import LoadSettings
from foveate.runtime.errors import ImageError, OutputError, SettingsError
from foveate.runtime.io.images import read_image
from foveate.runtime.io.inputs import Item, find_items
from foveate.runtime.io.outputs import OutputSettings, assemble_coco
from foveate.runtime.segment.concurrency import FEW, Wish, WorkPlan, engine_threads, plan_for
from foveate.runtime.segment.item_worker import NO_ROOM
from foveate.runtime.segment.journal import Journal
from foveate.runtime.segment.leftovers import sweep
from foveate.runtime.segment.pipeline import Job, Progress, Report, segment_files, tally
from foveate.runtime.segment.ray.address import check_address, check_no_gpu
from foveate.runtime.segment.resume import check_same_job, done_before, remaining
from foveate.runtime.segment.run_lock import locked
from foveate.runtime.segment.shards import shard
from foveate.runtime.segment.watch import Watch, Watching

Plan = Mapping[str, Any]
Items = Sequence[Item] | Watch
LOOKED_AT = 8
"""Inputs tried for one that can be read, to measure the engine on."""


@dataclass(frozen=True)
class Request:
    """What a user asks for: the options of ``foveate segment``."""

    bundle: Path
    inputs: Sequence[str]
    out: Path
    recursive: bool = False
    kind: str = "png"
    overlay: bool = False
    probability: bool = False
    resume: bool = False
    fail_fast: bool = False
    shard: str = ""
    engine: str = AUTO
    precision: str = AUTO
    workers: int = 0
    batch: int = 0
    threads: int = 0
    gpu: int = 0
    ray: str = ""
    trust: Sequence[Path] = ()
    watch: Path | None = None

    @property
    def outputs(self) -> OutputSettings:
        return OutputSettings(self.kind, self.overlay, self.probability)


@dataclass
class Outcome:
    """What came of a run. ``resumed`` inputs were done before it."""

    report: Report
    choice: Choice
    plan: WorkPlan
    resumed: int
    failures_file: Path
    out: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        values = asdict(self.report)
        stages = values.pop("stages")
        failures = [failure.line for failure in self.report.failures]
        return {
            **values,
            **asdict(self.choice),
            **stages,
            "failures": failures,
            "images_per_second": self.report.images_per_second,
            "resumed": self.resumed,
            "plan": self.plan.as_dict(),
            "out": str(self.out),
        }


def segment_run(
    request: Request,
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
    listed: Callable[[], Iterable[str]] | None = None,
) -> Outcome:
    """Segment what a request names and return what came of it.

    ``progress`` is first called, with nothing done, when all is checked. Raises FoveateError for
    what the user can mend, before any image or, when the folder of the masks has no room left,
    between two.
    """
    out = request.out
    part = shard(request.shard) if request.shard else None
    request.outputs.check()
    if request.ray:
        check_address(request.ray)
        check_no_gpu(request.gpu)
    stop = stop or threading.Event()
    items: Items
    if request.watch is not None or not request.inputs:
        items = Watch(_watching(request), stop)
    else:
        items = find_items(request.inputs, out, request.recursive, listed)
        request.outputs.check_distinct(item.name for item in items)
        items = part.of(items) if part else items
    journal = Journal(out, part.part if part else "")
    with _saying_what_to_do(), locked(out, journal.part):
        if not part:  # the other shards may be at work, on other machines too
            sweep(_folders(request, items))
        return _locked_run(request, items, journal, progress, stop)


def _watching(request: Request) -> Watching:
    """Return what is watched; SettingsError when that does not go with the other options."""
    if request.watch is None:
        raise SettingsError("there is nothing to segment; wanted INPUT..., or --watch FOLDER")
    if request.inputs or request.ray or request.shard:
        raise SettingsError(
            "--watch takes the place of INPUT and goes with neither --ray nor --shard; run it once "
            "for each folder"
        )
    watching = Watching(request.watch, request.out, request.recursive)
    watching.check()
    return watching


def _folders(request: Request, items: Items) -> set[Path]:
    """Return every folder that a run writes into, all there are where it watches."""
    if isinstance(items, Watch):
        return {Path(folder) for folder, _, _ in os.walk(request.out)}
    files = (file for item in items for file in request.outputs.names(item.name))
    return {request.out, *(request.out / name for name in set(map(os.path.dirname, files)))}


def _locked_run(
    request: Request,
    items: Items,
    journal: Journal,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> Outcome:
    earlier = (journal.earlier_job() if request.resume else None) or {}
    trusted = keys_in(request.trust)
    bundle = open_bundle(request.bundle, trusted)
    choice = _choice(bundle, request, _expected(items), earlier)
    job = {
        "bundle": bundle.manifest["manifest_sha256"],
        "engine": choice.engine,
        "precision": choice.precision,
        "outputs": asdict(request.outputs),
    }
    resumed = 0
    if earlier:
        check_same_job(journal, job)
        items, resumed = _left(journal, items)
    batch = request.batch or (earlier["plan"]["batch"] if earlier else 0)
    begin = partial(journal.begin, job) if not earlier else lambda plan: None
    settled = _Settled(replace(request, batch=batch), bundle, choice, trusted, begin)
    work = Job(items, journal, request.outputs, request.fail_fast)
    run = _on_ray if request.ray else _here
    report, plan = run(settled, work, progress, stop)
    if request.kind == "coco":
        assemble_coco(request.out, _names(journal), bundle.spec, journal.part)
    return Outcome(report, choice, plan, resumed, journal.failures, request.out)


def _left(journal: Journal, items: Items) -> tuple[Items, int]:
    """Return the items without those that an earlier run did, and how many it did."""
    if isinstance(items, Watch):
        items.done, done = done_before(journal)
        return items, done
    return remaining(journal, items)


def _expected(items: Items) -> int:
    """Return how many items there will be; where a folder is watched, enough for all cores."""
    return FEW if isinstance(items, Watch) else len(items)


@dataclass(frozen=True)
class _Settled:
    """A request with all that was open in it decided; ``begin`` is told the plan before work.

    ``trusted`` are the keys that the bundle was opened with.
    """

    request: Request
    bundle: Bundle
    choice: Choice
    trusted: tuple[bytes, ...] | None
    begin: Callable[[Plan], None]


def _here(
    settled: _Settled, job: Job, progress: Callable[[Progress], None], stop: threading.Event
) -> tuple[Report, WorkPlan]:
    """Segment the items in this process."""
    request, count, cores = settled.request, _expected(job.items), available_cores()
    threads, spare = engine_threads(request.threads, count), request.engine == AUTO
    load = LoadSettings(threads, gpu=request.gpu)
    with Cascade.chosen(settled.bundle, settled.choice, load, spare) as cascade:
        wish = Wish(request.workers, request.batch, threads)
        sample = None if request.batch else _sample(job.items)
        plan = plan_for(cascade, wish, count, cores, sample)
        settled.begin(plan.as_dict())
        return segment_files(cascade, job, plan, progress, stop), plan


def _on_ray(
    settled: _Settled, job: Job, progress: Callable[[Progress], None], stop: threading.Event
) -> tuple[Report, WorkPlan]:
    """Have the items segmented by the actors of a Ray cluster."""
    from foveate.runtime.segment.ray.actor import ActorJob
    from foveate.runtime.segment.ray.cluster import nodes_of, ray_cluster
    from foveate.runtime.segment.ray.run import GPU_ENGINES, ray_outcomes, ray_plan
    from foveate.runtime.segment.ray.share import share

    request, choice, items = settled.request, settled.choice, job.items
    assert not isinstance(items, Watch)
    with ray_cluster(request.ray) as ray:
        gpu = choice.engine in GPU_ENGINES
        part = share(nodes_of(ray), gpu, request.workers, len(items))
        plan = ray_plan(part, request.batch, request.threads)
        settled.begin(plan.as_dict())
        paths = [request.bundle, request.out, *(item.path for item in items)]
        folder = "" if all(path.is_absolute() for path in paths) else os.getcwd()
        task = ActorJob(
            request.bundle, choice, request.out, request.outputs, plan, folder, settled.trusted
        )
        outcomes = ray_outcomes(ray, task, part, items, stop)
        return tally(outcomes, job, part.actors * part.cores, progress, stop), plan


@contextmanager
def _saying_what_to_do() -> Iterator[None]:
    """Turn a folder that takes nothing more into an error that says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        remedy = "make it writable" if error.errno == errno.EROFS else "make room"
        raise OutputError(
            f"{error.filename}: {error.strerror}. What is written is kept; {remedy}, then go on "
            "with --resume"
        ) from error


def _choice(bundle: Bundle, request: Request, count: int, earlier: Mapping[str, Any]) -> Choice:
    """Return engine and precision; on a resumed run ``auto`` is what it was settled to be.

    The engines of a CPU are timed only for so many images that it pays.
    """
    engine = _settled(request.engine, earlier.get("engine"))
    precision = _settled(request.precision, earlier.get("precision"))
    if earlier:
        choice = choose(bundle, engine, precision, gpu=request.gpu)
        return replace(choice, why="the run that is resumed had it")
    timer = idle_timer() if count >= FEW else None
    shared = bool(request.ray or request.shard)
    speeds = Speeds(engine_threads(request.threads, count), timer, shared)
    return choose(bundle, engine, precision, speeds, request.gpu)


def _settled(asked: str, earlier: Any) -> str:
    return earlier if asked == AUTO and isinstance(earlier, str) else asked


def _sample(items: Items) -> Pixels | None:
    """Return the first image that can be read, None where none of the first can, or is known."""
    if isinstance(items, Watch):
        return None
    for item in items[:LOOKED_AT]:
        try:
            return read_image(item.path, item.page)
        except ImageError:
            continue
    return None


def _names(journal: Journal) -> list[str]:
    """Return the names of the images that have a line in the journal, in order."""
    masks = (str(line.get("mask", "")) for line in journal.lines())
    return sorted(mask.removesuffix(".coco.json") for mask in masks if mask)
