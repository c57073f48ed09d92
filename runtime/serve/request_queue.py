"""The images in hand: a bounded queue, and the threads that turn each into its answer."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.closing import Closing
from foveate.runtime.errors import (
    DeviceMemoryError,
    EngineError,
    GraphError,
    ImageError,
    PagesError,
    SizeError,
)
from foveate.runtime.io.images import image_in_memory
from foveate.runtime.limits import PIXELS
from foveate.runtime.segment.batcher import Batcher
from foveate.runtime.segment.budget import Budget
from foveate.runtime.segment.concurrency import WorkPlan
from foveate.runtime.serve.metrics import Metrics
from foveate.runtime.serve.refusal import Refusal
from foveate.runtime.serve.responses import Make
from foveate.runtime.serve.settings import Limits


class Desk(Closing):
    """Answers uploads, as many at a time as the plan has workers; ``queue`` more may wait.

    ``fault`` is the error of an engine that failed: no later image will fare better. ``answer`` is
    called on the event loop's thread alone.
    """

    def __init__(self, cascade: Cascade, plan: WorkPlan, limits: Limits, metrics: Metrics) -> None:
        self.fault: EngineError | None = None
        self._cascade, self._limits, self._metrics = cascade, limits, metrics
        self._workers, self._in_hand, self._mean_s = plan.workers, 0, 0.1
        self._lock = threading.Lock()
        self._begun: dict[int, float] = {}
        self._pool = ThreadPoolExecutor(plan.workers, "foveate-serve")
        self._budget = Budget(PIXELS)
        self._segment = Batcher(
            cascade, plan.batch, limits.batch_wait_s, self._is_alone, metrics.batch.observe
        )

    async def answer(self, upload: bytes, page: int, make: Make) -> bytes:
        """Return the answer to one upload; Refusal says why there is none.

        Raises EngineError when the engine fails.
        """
        if self._in_hand >= self._workers + self._limits.queue:
            raise Refusal(
                429,
                "queue_full",
                f"the queue is full: places for images that wait: {self._limits.queue}",
                math.ceil(self._in_hand / self._workers * self._mean_s),
            )
        self._count(1)  # by this thread alone, so that no two take the last place
        work = self._pool.submit(self._work, upload, page, make)
        work.add_done_callback(lambda _: self._count(-1))
        return await self._outcome(work)

    async def _outcome(self, work: Future[bytes]) -> bytes:
        limit = self._limits.answer_s
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), limit)
        except (TimeoutError, asyncio.TimeoutError):
            reason = f"the image was not segmented within {limit:g} s"
            raise Refusal(503, "timeout", reason, math.ceil(limit / 10)) from None
        except SizeError as error:
            raise Refusal(413, "too_large", f"the image {error}") from None
        except PagesError as error:
            raise Refusal(
                422, "image", f"the image {error}, or ask for ?page=N of a TIFF"
            ) from None
        except ImageError as error:
            raise Refusal(422, "image", f"the image {error}") from None
        except GraphError as error:
            raise Refusal(422, "image", str(error)) from None
        except (MemoryError, DeviceMemoryError) as error:
            raise Refusal(503, "memory", f"there is no memory for it: {error}", 1) from None
        except EngineError as error:
            self.fault = error
            raise Refusal(500, "engine", f"the engine failed: {error}") from None

    @property
    def trouble(self) -> str:
        """Why a request would not be answered with a mask, "" where one would."""
        if self.fault is not None:
            return str(self.fault)
        limit, now = self._limits.answer_s, time.monotonic()
        late = sum(now - begun > limit for begun in list(self._begun.values()))
        return "" if late < self._workers else f"every worker is at an image for over {limit:g} s"

    def _work(self, upload: bytes, page: int, make: Make) -> bytes:
        me, started = threading.get_ident(), time.monotonic()
        self._begun[me] = started
        try:
            return self._answer(upload, page, make)
        finally:
            del self._begun[me]
            self._mean_s += 0.1 * (time.monotonic() - started - self._mean_s)

    def _answer(self, upload: bytes, page: int, make: Make) -> bytes:
        image = image_in_memory(upload, page, self._limits.max_pixels)
        with self._budget.room(image.size):
            return make(image, self._segment(image), self._cascade.spec)

    def _is_alone(self) -> bool:
        return self._in_hand <= 1

    def _count(self, change: int) -> None:
        with self._lock:
            self._in_hand += change
            self._metrics.working.set(min(self._in_hand, self._workers))
            self._metrics.queue.set(max(0, self._in_hand - self._workers))

    def close(self) -> None:
        """Wait for the work that was begun; what waits is not begun any more."""
        self._pool.shutdown(cancel_futures=True)
