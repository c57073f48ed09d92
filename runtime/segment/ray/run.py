"""Distribute the items of ``foveate segment --ray`` to actors with Ray Data.

The actors write the mask files; the outcome of each item comes back to this process, which alone
writes the journal.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from foveate.runtime.bundle.signing import keys_in
from foveate.runtime.engines.registry import TENSORRT
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.item_worker import Failure, Written
from foveate.runtime.segment.pipeline import Progress, Report, SegmentJob, record_outcomes
from foveate.runtime.segment.ray.actor import ATTEMPTS, ActorJob, Coordinator, SegmentActor
from foveate.runtime.segment.ray.cluster import (
    Allocation,
    allocate_actors,
    nodes_of,
    ray_cluster,
)
from foveate.runtime.segment.ray.messages import result_of, task_text
from foveate.runtime.segment.request import ResolvedRequest
from foveate.runtime.segment.stage_times import StageTimes
from foveate.runtime.segment.watch import Watch
from foveate.runtime.segment.workers import WAKE_S

GPU_ENGINES = (TENSORRT, "onnxruntime-cuda")
ITEMS_A_TASK = 32
"""At most; the tasks in flight on an actor that is lost are repeated."""
TASKS_A_THREAD = 4
"""At least, given enough items, so that no thread finishes long before the others."""
CALLS_A_GPU = 4
"""About how many calls a GPU can have in flight."""


def segment_on_ray(
    resolved: ResolvedRequest,
    job: SegmentJob,
    progress: Callable[[Progress], None],
    stop: threading.Event,
) -> tuple[Report, Concurrency]:
    """Segment the items with the actors of a Ray cluster."""
    request, choice, items = resolved.request, resolved.choice, job.items
    assert not isinstance(items, Watch)
    with ray_cluster(request.ray) as ray:
        gpu = choice.engine in GPU_ENGINES
        part = allocate_actors(nodes_of(ray), gpu, request.workers, len(items))
        concurrency = ray_concurrency(part, request.batch, request.threads)
        resolved.begin(concurrency.as_dict())
        paths = [request.bundle, request.out, *(item.path for item in items)]
        folder = "" if all(path.is_absolute() for path in paths) else os.getcwd()
        task = ActorJob(
            request.bundle,
            choice,
            request.out,
            request.outputs,
            concurrency,
            folder,
            keys_in(request.trust),
            request.window,
            job.pixel_size,
            job.decision,
        )
        outcomes = ray_outcomes(ray, task, part, items, stop)
        stages = StageTimes(part.actors * part.cores, None)  # their load is not known here
        return record_outcomes(outcomes, job, stages, progress, stop), concurrency


def ray_concurrency(allocation: Allocation, batch: int, threads: int) -> Concurrency:
    """Return the concurrency of each actor; 0 stands for 1."""
    batch, threads = batch or 1, threads or 1
    calls = CALLS_A_GPU if allocation.gpu else max(1, allocation.cores // threads)
    workers = calls * batch + (allocation.cores if allocation.gpu else 0)
    return Concurrency(workers, batch, threads, actors=allocation.actors)


def ray_outcomes(
    ray: Any, job: ActorJob, allocation: Allocation, items: Sequence[Item], stop: threading.Event
) -> Generator[Written | Failure, None, None]:
    """Yield the outcome of every item, in order of completion.

    ``stop`` ends it after what is in flight; so does an actor that cannot work, whose error is then
    raised. Items whose actors are lost repeatedly are tried one by one at the end; those that still
    fail are yielded as failures.
    """
    if not items:
        return
    threads = allocation.actors * job.concurrency.workers
    most = max(1, min(ITEMS_A_TASK, len(items) // (threads * TASKS_A_THREAD)))
    left = {(str(item.path), item.page): item for item in items}
    for items_a_task, threads in ((most, job.concurrency.workers), (1, 1)):
        for done in _round(ray, job, allocation, list(left.values()), stop, items_a_task, threads):
            del left[_key(done)]
            yield done
        if stop.is_set() or not left:
            return
    for path, page in left:
        yield Failure(path, f"the process that worked on it died, {ATTEMPTS} times", page)


def _key(done: Written | Failure) -> tuple[str, int]:
    if isinstance(done, Failure):
        return done.input, done.page
    return done.line["input"], done.line["page"]


def _round(
    ray: Any,
    job: ActorJob,
    allocation: Allocation,
    items: Sequence[Item],
    stop: threading.Event,
    items_a_task: int,
    threads: int,
) -> Iterator[Written | Failure]:
    """Yield the outcomes of the items, except those whose actors were lost."""
    tasks = [items[n : n + items_a_task] for n in range(0, len(items), items_a_task)]
    coordinator = ray.remote(num_cpus=0)(Coordinator).remote()
    rows = [{"number": number, "task": task_text(task)} for number, task in enumerate(tasks)]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        SegmentActor,
        fn_constructor_args=(job, coordinator),
        batch_size=None,
        num_cpus=allocation.cores,
        num_gpus=int(allocation.gpu),
        compute=ray.data.ActorPoolStrategy(
            size=allocation.actors,
            max_concurrent_calls_per_actor=threads,
            enable_true_multi_threading=True,
        ),
    )
    idle: set[str] = set()
    failed: Exception | None = None
    with _stop_forwarded(stop, coordinator):
        for row in results.iter_rows():
            result = result_of(row["result"])
            yield from result.done
            if result.error is not None:
                failed = failed or result.error
                stop.set()
            idle |= {result.idle} - {""}
            if len(idle) == allocation.actors:
                break
    if failed is not None:
        raise failed


@contextmanager
def _stop_forwarded(stop: threading.Event, coordinator: Any) -> Iterator[None]:
    """Stop the actors when ``stop`` is set in this process."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stop.wait(WAKE_S):
                coordinator.halt.remote()
                return

    thread = threading.Thread(target=watch, name="foveate-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
