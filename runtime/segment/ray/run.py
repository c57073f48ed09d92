"""``foveate segment --ray``: the items of a run dealt out to actors by Ray Data.

The actors write the files of the masks; what came of each item comes back to this process, which
alone keeps the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from foveate.runtime.engines.registry import PLANNED
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.concurrency import WorkPlan
from foveate.runtime.segment.item_worker import Failure, Written
from foveate.runtime.segment.ray.actor import ATTEMPTS, ActorJob, Foreman, SegmentActor
from foveate.runtime.segment.ray.lines import answer_of, task_text
from foveate.runtime.segment.ray.share import Share
from foveate.runtime.segment.workers import WAKE_S

GPU_ENGINES = (PLANNED, "onnxruntime-cuda")
ITEMS_A_TASK = 32
"""So many at most: an actor that is lost has those of its threads done again."""
TASKS_A_THREAD = 4
"""At least so many where there are items enough, so that no thread ends long before the others."""
CALLS_A_GPU = 4
"""About how many calls a GPU can have under way."""


def ray_plan(share: Share, batch: int, threads: int) -> WorkPlan:
    """Return the plan of each actor; 0 is 1."""
    batch, threads = batch or 1, threads or 1
    calls = CALLS_A_GPU if share.gpu else max(1, share.cores // threads)
    workers = calls * batch + (share.cores if share.gpu else 0)
    return WorkPlan(workers, batch, threads, actors=share.actors)


def ray_outcomes(
    ray: Any, job: ActorJob, share: Share, items: Sequence[Item], stop: threading.Event
) -> Generator[Written | Failure, None, None]:
    """Yield what became of every item, in the order of ending.

    ``stop`` ends it after what is in hand; so does an actor that cannot do its work, whose error is
    raised then. Items whose actors are lost again and again are tried one by one at the end, and
    those that fail then come as failures.
    """
    if not items:
        return
    threads = share.actors * job.plan.workers
    most = max(1, min(ITEMS_A_TASK, len(items) // (threads * TASKS_A_THREAD)))
    left = {(str(item.path), item.page): item for item in items}
    for items_a_task, threads in ((most, job.plan.workers), (1, 1)):
        for done in _round(ray, job, share, list(left.values()), stop, items_a_task, threads):
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
    share: Share,
    items: Sequence[Item],
    stop: threading.Event,
    items_a_task: int,
    threads: int,
) -> Iterator[Written | Failure]:
    """Yield what became of the items, but for those whose actors were lost."""
    tasks = [items[n : n + items_a_task] for n in range(0, len(items), items_a_task)]
    foreman = ray.remote(num_cpus=0)(Foreman).remote()
    rows = [{"number": number, "task": task_text(task)} for number, task in enumerate(tasks)]
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        SegmentActor,
        fn_constructor_args=(job, foreman),
        batch_size=None,
        num_cpus=share.cores,
        num_gpus=int(share.gpu),
        compute=ray.data.ActorPoolStrategy(
            size=share.actors,
            max_concurrent_calls_per_actor=threads,
            enable_true_multi_threading=True,
        ),
    )
    quiet: set[str] = set()
    failed: Exception | None = None
    with _passed_on(stop, foreman):
        for row in answers.iter_rows():
            answer = answer_of(row["answer"])
            yield from answer.done
            if answer.error is not None:
                failed = failed or answer.error
                stop.set()
            quiet |= {answer.quiet} - {""}
            if len(quiet) == share.actors:
                break
    if failed is not None:
        raise failed


@contextmanager
def _passed_on(stop: threading.Event, foreman: Any) -> Iterator[None]:
    """Tell the actors to stop when this process is told to."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stop.wait(WAKE_S):
                foreman.halt.remote()
                return

    thread = threading.Thread(target=watch, name="foveate-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
