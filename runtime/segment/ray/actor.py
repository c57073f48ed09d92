"""The actors on the machines of a Ray cluster; each holds one Cascade."""

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
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import EngineError
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.outputs import OutputSettings
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.item_worker import Failure, ItemWorker, Written
from foveate.runtime.segment.ray.messages import TaskResult, items_of, result_text

ATTEMPTS = 3
ARRIVAL_S = 0.2
"""The last results have this long to arrive before an actor reports that it is idle."""


@dataclass(frozen=True)
class ActorJob:
    """The work of every actor. Paths are as the user gave them, relative to ``folder``.

    ``folder`` is empty if all are absolute. ``trusted``: as for ``Cascade.load``; ``window``,
    ``pixel_size`` and ``decision``: as for ``SegmentJob``.
    """

    bundle: Path
    choice: Choice
    out: Path
    outputs: OutputSettings
    concurrency: Concurrency
    folder: str
    trusted: tuple[bytes, ...] | None
    window: str = ""
    pixel_size: PixelSize | None = None
    decision: Decision = Decision()


class Coordinator:
    """An actor that counts the attempts at each task and tells the other actors to stop."""

    def __init__(self) -> None:
        self._halt = asyncio.Event()
        self._attempts: Counter[int] = Counter()

    async def attempt(self, task: int) -> int:
        """Count an attempt at a task; return how many there were before."""
        self._attempts[task] += 1
        return self._attempts[task] - 1

    async def halted(self) -> None:
        """Return when the run is to stop."""
        await self._halt.wait()

    async def halt(self) -> None:
        self._halt.set()


class SegmentActor:
    """Segment tasks; Ray Data calls it with one task at a time on each of several threads.

    It never raises: an error goes back as a result. So Ray sees an actor fail only when it is lost;
    it then starts another and repeats its tasks, without end. A file written twice replaces itself.
    A task attempted ``ATTEMPTS`` times before comes back undone.
    """

    def __init__(self, job: ActorJob, coordinator: Any) -> None:
        self._job, self._name = job, uuid.uuid4().hex
        self._loading = threading.Lock()
        self._worker: ItemWorker | None = None
        self._stop = threading.Event()
        self._in_flight, self._changed = 0, threading.Condition()
        self._coordinator = coordinator
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        tasks = zip(batch["number"], batch["task"], strict=True)
        return {"result": [result_text(self._segment(int(n), str(text))) for n, text in tasks]}

    def _segment(self, number: int, task: str) -> TaskResult:
        if self._stop.is_set():
            return self._idle()
        if self._attempts(number) >= ATTEMPTS:
            return TaskResult([])
        done: list[Written | Failure] = []
        self._count(1)
        try:
            worker = self._load()
            for item in items_of(task):
                if self._stop.is_set():
                    break
                done.append(worker(item))
        except Exception as error:
            self._stop.set()
            return TaskResult(done, error)
        finally:
            self._count(-1)
        return TaskResult(done)

    def _load(self) -> ItemWorker:
        """Return the worker; the first call loads the bundle."""
        with self._loading:
            if self._worker is None:
                self._worker = _worker(self._job)
            return self._worker

    def _count(self, change: int) -> None:
        with self._changed:
            self._in_flight += change
            self._changed.notify_all()

    def _idle(self) -> TaskResult:
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0)
        time.sleep(ARRIVAL_S)
        return TaskResult([], idle=self._name)

    def _attempts(self, number: int) -> int:
        import ray

        try:
            return int(ray.get(self._coordinator.attempt.remote(number)))
        except ray.exceptions.RayError:
            return 0  # the coordinator was lost with its machine: attempts are no longer counted

    def _listen(self) -> None:
        import ray

        try:
            ray.get(self._coordinator.halted.remote())
        except ray.exceptions.RayError:
            return  # no stop will come
        self._stop.set()


def _worker(job: ActorJob) -> ItemWorker:
    cv2.utils.logging.setLogLevel(0)
    cv2.setNumThreads(1)
    if job.folder:
        _change_folder(job.folder)
    choice = job.choice
    cascade = Cascade.load(
        job.bundle, choice.engine, choice.precision, job.concurrency.threads, trusted=job.trusted
    )
    return ItemWorker(
        cascade,
        job.outputs,
        job.out,
        job.concurrency,
        job.window,
        job.pixel_size,
        job.decision,
    )


def _change_folder(folder: str) -> None:
    """Change to the folder that relative paths start from, as where the command was called."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise EngineError(
            f"{platform.node()}: {folder}: {error.strerror}. Relative paths count from the "
            "folder of the command; use one that every machine shares, or absolute paths"
        ) from None
