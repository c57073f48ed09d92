"""Run ``foveate segment``: resolve the request, segment the items, return the outcome."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.atomic_files import remove_stale_files
from foveate.runtime.auto.choose import AUTO, Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing_child import idle_timer
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.bundle.signing import keys_in
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import FixedShapeEngine
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.engines.registry import LoadSettings
from foveate.runtime.errors import ImageError, OutputError
from foveate.runtime.io.exchange.registry import assemble_annotations
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.images import read_image
from foveate.runtime.io.inputs import Item, find_items
from foveate.runtime.io.ranking import write_ranking
from foveate.runtime.io.volume_masks import assemble_nifti, assemble_seg, is_nifti_name
from foveate.runtime.io.window import Window, chosen_window
from foveate.runtime.objects.collect import assemble_objects
from foveate.runtime.page.run_page import write_run_page
from foveate.runtime.segment.concurrency import (
    FEW,
    Concurrency,
    WorkerOptions,
    choose_concurrency,
    engine_threads,
    frequent_sizes,
)
from foveate.runtime.segment.item_worker import NO_ROOM
from foveate.runtime.segment.journal import Journal
from foveate.runtime.segment.pipeline import (
    Progress,
    Report,
    SegmentJob,
    segment_files,
)
from foveate.runtime.segment.ray.address import check_address, check_no_gpu
from foveate.runtime.segment.request import Outcome, Request, ResolvedRequest
from foveate.runtime.segment.resume import check_same_job, done_before, remaining
from foveate.runtime.segment.run_lock import locked
from foveate.runtime.segment.shards import shard
from foveate.runtime.segment.watch import Watch

Items = Sequence[Item] | Watch
Run = Callable[
    [ResolvedRequest, SegmentJob, Callable[[Progress], None], threading.Event],
    tuple[Report, Concurrency],
]
SAMPLE_TRIES = 8
"""Inputs tried to find a readable one for measuring the engine."""


def segment_run(
    request: Request,
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
    listed: Callable[[], Iterable[str]] | None = None,
) -> Outcome:
    """Segment the inputs of a request and return the outcome.

    ``progress`` is first called with nothing done, once everything is checked. Raises FoveateError
    for what the user can mend: before the first image or, if the output folder is full, between
    images.
    """
    out = request.out
    part = shard(request.shard) if request.shard else None
    request.outputs.check()
    if request.window:
        Window.parse(request.window)
    if request.pixel_size:
        PixelSize.parse(request.pixel_size)
    if request.ray:
        check_address(request.ray)
        check_no_gpu(request.gpu)
    stop = stop or threading.Event()
    bundle = open_bundle(request.bundle, keys_in(request.trust))
    stems, channels = request.stem_list, bundle.spec.channels
    items: Items
    if request.watch is not None or not request.inputs:
        items = Watch(request.watch_settings(channels), stop)
    else:
        items = find_items(request.inputs, out, request.recursive, listed, stems, channels)
        request.outputs.check_distinct(item.name for item in items)
        items = part.of(items) if part else items
    request.decide.check(bundle.spec)
    journal = Journal(out, part.part if part else "")
    with _remedy_for_full_folder(), locked(out, journal.part):
        journal.check_split()
        if not part:  # other shards may be running, on other machines too
            remove_stale_files(_folders(request, items))
        return _locked_run(request, bundle, items, journal, progress, stop)


def _folders(request: Request, items: Items) -> set[Path]:
    """Return every folder that a run writes into; when watching, all that exist."""
    if isinstance(items, Watch):
        return {Path(folder) for folder, _, _ in os.walk(request.out)}
    files = (file for item in items for file in request.outputs.names(item.name))
    return {request.out, *(request.out / name for name in set(map(os.path.dirname, files)))}


def _locked_run(
    request: Request,
    bundle: Bundle,
    items: Items,
    journal: Journal,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> Outcome:
    earlier = (journal.earlier_job() if request.resume else None) or {}
    size = PixelSize.parse(request.pixel_size) if request.pixel_size else None
    volumes = isinstance(items, Watch) or any(is_nifti_name(item.path.name) for item in items)
    choice = _choice(bundle, request, _expected_count(items), earlier)
    job = {
        "bundle": bundle.manifest["manifest_sha256"],
        "engine": choice.engine,
        "precision": choice.precision,
        "outputs": asdict(request.outputs),
        "window": request.window or None,  # as in the folders of older versions
        "pixel_size": str(size) if size else None,
        "decision": request.decide.as_dict(),
    }
    resumed = 0
    if earlier:
        check_same_job(journal, job)
        items, resumed = _remaining(journal, items)
    batch = request.batch or (earlier["plan"]["batch"] if earlier else 0)
    begin = partial(journal.begin, job) if not earlier else lambda plan: None
    sizes = earlier["plan"].get("sizes", []) if earlier else None
    resolved = ResolvedRequest(replace(request, batch=batch), bundle, choice, begin, sizes)
    work = SegmentJob(
        items, journal, request.outputs, request.fail_fast, request.window, size, request.decide
    )
    report, concurrency = _run_of(request)(resolved, work, progress, stop)
    out, part = request.out, journal.part
    assemble_annotations(request.kind, out, journal.lines(), bundle.spec, part)
    if volumes and request.kind in ("png", "dicom-seg"):
        assemble_nifti(out, journal.lines())
    if request.kind == "dicom-seg":
        assemble_seg(out, journal.lines(), bundle.spec)
    objects = assemble_objects(out, journal.lines(), part) if request.objects else {}
    ranking = write_ranking(out, journal.lines(), part) if request.rank else {}
    page = None
    if request.page:
        decided = (f"{name} {value}" for name, value in request.decide.given.items())
        about = ", ".join((bundle.label, choice.label, *decided))
        left = 0 if isinstance(items, Watch) else len(items) - report.written - len(report.failures)
        lines, failed = journal.lines(), journal.failed()
        classes, outputs = bundle.spec.classes, request.outputs
        page = write_run_page(out, part, lines, failed, classes, outputs, about, left)
    unfinished = items.unfinished() if isinstance(items, Watch) else ()
    return Outcome(
        report,
        bundle,
        choice,
        concurrency,
        resumed,
        unfinished,
        journal.failures,
        out,
        objects,
        ranking,
        page,
    )


def _remaining(journal: Journal, items: Items) -> tuple[Items, int]:
    """Return the items that an earlier run has not done, and how many it has."""
    if isinstance(items, Watch):
        items.done, done = done_before(journal)
        return items, done
    return remaining(journal, items)


def _expected_count(items: Items) -> int:
    """Return the number of items to expect; for a watched folder, enough for all cores."""
    return FEW if isinstance(items, Watch) else len(items)


def _run_of(request: Request) -> Run:
    """Return what segments the items of a request: this process, or a Ray cluster's."""
    if not request.ray:
        return _here
    from foveate.runtime.segment.ray.run import segment_on_ray  # rarely needed

    return segment_on_ray


def _here(
    resolved: ResolvedRequest,
    job: SegmentJob,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> tuple[Report, Concurrency]:
    """Segment the items in this process."""
    request, count, cores = resolved.request, _expected_count(job.items), available_cores()
    threads, fallback = engine_threads(request.threads, count), request.engine == AUTO
    load = LoadSettings(threads, gpu=request.gpu)
    with Cascade.chosen(resolved.bundle, resolved.choice, load, fallback) as cascade:
        options = WorkerOptions(request.workers, request.batch, threads)
        window = chosen_window(request.window, cascade.spec)
        sample = None if request.batch else _sample(job.items, window, cascade.spec.channels)
        concurrency = choose_concurrency(cascade, options, count, cores, sample)
        if isinstance(cascade.engine, FixedShapeEngine) and not isinstance(job.items, Watch):
            sizes = resolved.sizes
            concurrency = replace(
                concurrency, sizes=frequent_sizes(job.items) if sizes is None else sizes
            )
            cascade.warm_up([(concurrency.batch, *size) for size in concurrency.sizes])
        resolved.begin(concurrency.as_dict())
        return segment_files(cascade, job, concurrency, progress, stop), concurrency


@contextmanager
def _remedy_for_full_folder() -> Iterator[None]:
    """Turn a full or read-only output folder into an error that says how to continue."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        remedy = "make it writable" if error.errno == errno.EROFS else "make room"
        raise OutputError(
            f"{error.filename}: {error.strerror}. What is written is kept; {remedy}, then continue "
            "with --resume"
        ) from error


def _choice(bundle: Bundle, request: Request, count: int, earlier: Mapping[str, Any]) -> Choice:
    """Return engine and precision; a resumed run keeps what ``auto`` stood for.

    CPU engines are timed only if there are enough images for it to pay.
    """
    engine = _auto_or_earlier(request.engine, earlier.get("engine"))
    precision = _auto_or_earlier(request.precision, earlier.get("precision"))
    if earlier:
        choice = choose(bundle, engine, precision, gpu=request.gpu)
        return replace(choice, why="the run being resumed used it")
    timer = idle_timer() if count >= FEW else None
    shared = bool(request.ray or request.shard)
    speeds = Speeds(engine_threads(request.threads, count), timer, shared)
    return choose(bundle, engine, precision, speeds, request.gpu)


def _auto_or_earlier(asked: str, earlier: Any) -> str:
    return earlier if asked == AUTO and isinstance(earlier, str) else asked


def _sample(items: Items, window: Window | None, channels: str) -> Pixels | None:
    """Return the first readable image; None if the first few are not, or a folder is watched."""
    if isinstance(items, Watch):
        return None
    for item in items[:SAMPLE_TRIES]:
        try:
            return read_image(item.path, item.page, None, window, channels)
        except ImageError:
            continue
    return None
