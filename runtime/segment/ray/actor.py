"""What runs on the machines of a Ray cluster: actors that each hold one Cascade."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from foveate.runtime.auto.choose import Choice
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import EngineError
from foveate.runtime.io.outputs import OutputSettings
from foveate.runtime.segment.concurrency import WorkPlan
from foveate.runtime.segment.item_worker import Failure, ItemWorker, Written
from foveate.runtime.segment.ray.lines import Answer, answer_text, items_of

ATTEMPTS = 3
ARRIVING_S = 0.2
"""What was done last is given so long to arrive before an actor says that it is quiet."""


@dataclass(frozen=True)
class ActorJob:
    """What every actor does. Paths are as the user gave them, relative to ``folder``.

    ``folder`` is empty where all of them are absolute. ``trusted`` is of ``Cascade.load``.
    """

    bundle: Path
    choice: Choice
    out: Path
    outputs: OutputSettings
    plan: WorkPlan
    folder: str
    trusted: tuple[bytes, ...] | None


class Foreman:
    """A small actor that all others ask how often a task was begun, and that tells them to stop."""

    def __init__(self) -> None:
        self._halt = asyncio.Event()
        self._begun: Counter[int] = Counter()

    async def begin(self, task: int) -> int:
        """Return how often a task was begun before."""
        self._begun[task] += 1
        return self._begun[task] - 1

    async def halted(self) -> None:
        """Return when all is to stop."""
        await self._halt.wait()

    async def halt(self) -> None:
        self._halt.set()


class SegmentActor:
    """Called by Ray Data with one task at a time on each of several threads.

    It raises nothing: what is wrong goes back as an answer. So Ray sees an actor fail only when it
    is lost; then it starts another and has its tasks done again, without end. What was done twice
    is renamed over itself. A task that was begun ``ATTEMPTS`` times before comes back undone.
    """

    def __init__(self, job: ActorJob, foreman: Any) -> None:
        self._job, self._name = job, uuid.uuid4().hex
        self._loading = threading.Lock()
        self._worker: ItemWorker | None = None
        self._stop = threading.Event()
        self._in_hand, self._changed = 0, threading.Condition()
        self._foreman = foreman
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        tasks = zip(batch["number"], batch["task"], strict=True)
        return {"answer": [answer_text(self._answer(int(n), str(text))) for n, text in tasks]}

    def _answer(self, number: int, task: str) -> Answer:
        if self._stop.is_set():
            return self._quiet()
        if self._begun(number) >= ATTEMPTS:
            return Answer([])
        done: list[Written | Failure] = []
        self._count(1)
        try:
            worker = self._ready()
            for item in items_of(task):
                if self._stop.is_set():
                    break
                done.append(worker(item))
        except Exception as error:
            self._stop.set()
            return Answer(done, error)
        finally:
            self._count(-1)
        return Answer(done)

    def _ready(self) -> ItemWorker:
        """Return the worker; the first call loads the bundle."""
        with self._loading:
            if self._worker is None:
                self._worker = _worker(self._job)
            return self._worker

    def _count(self, change: int) -> None:
        with self._changed:
            self._in_hand += change
            self._changed.notify_all()

    def _quiet(self) -> Answer:
        with self._changed:
            self._changed.wait_for(lambda: self._in_hand == 0)
        time.sleep(ARRIVING_S)
        return Answer([], quiet=self._name)

    def _begun(self, number: int) -> int:
        import ray

        try:
            return int(ray.get(self._foreman.begin.remote(number)))
        except ray.exceptions.RayError:
            return 0  # the foreman was lost with its machine: nobody counts any more

    def _listen(self) -> None:
        import ray

        try:
            ray.get(self._foreman.halted.remote())
        except ray.exceptions.RayError:
            return  # nobody will say stop
        self._stop.set()


def _worker(job: ActorJob) -> ItemWorker:
    cv2.utils.logging.setLogLevel(0)
    cv2.setNumThreads(1)
    if job.folder:
        _go_to(job.folder)
    choice = job.choice
    cascade = Cascade.load(
        job.bundle, choice.engine, choice.precision, job.plan.threads, trusted=job.trusted
    )
    return ItemWorker(cascade, job.outputs, job.out, job.plan)


def _go_to(folder: str) -> None:
    """Work in the folder that relative paths count from, so that they mean what they meant."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise EngineError(
            f"{platform.node()}: {folder}: {error.strerror}. Relative paths count from the "
            "folder of the command; wanted one that every machine shares, or absolute paths"
        ) from None
