"""A bounded queue of images and the threads that turn each into its response."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decide import decide
from foveate.runtime.closeable import Closeable
from foveate.runtime.errors import (
    DeviceMemoryError,
    EngineError,
    GraphError,
    ImageError,
    PagesError,
    SizeError,
)
from foveate.runtime.io.images import image_in_memory
from foveate.runtime.io.window import chosen_window
from foveate.runtime.limits import PIXELS, PixelBudget
from foveate.runtime.segment.batcher import Batcher
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.serve.metrics import Metrics
from foveate.runtime.serve.parameters import Parameters
from foveate.runtime.serve.request_error import RequestError
from foveate.runtime.serve.responses import Make
from foveate.runtime.serve.settings import Limits


class RequestQueue(Closeable):
    """Segment uploads on ``concurrency.workers`` threads; ``limits.queue`` more may wait.

    ``fault`` is the error of a failed engine: every later image would fail too. Call ``respond``
    only on the thread of the event loop.
    """

    def __init__(
        self,
        cascade: Cascade,
        concurrency: Concurrency,
        limits: Limits,
        metrics: Metrics,
        window: str = "",
    ) -> None:
        self.fault: EngineError | None = None
        self.cascade, self._limits, self._metrics = cascade, limits, metrics
        self._window = chosen_window(window, cascade.spec)
        self._workers, self._in_flight, self._mean_s = concurrency.workers, 0, 0.1
        self._lock = threading.Lock()
        self._started: dict[int, float] = {}
        self._pool = ThreadPoolExecutor(concurrency.workers, "foveate-serve")
        self._budget = PixelBudget(PIXELS)
        self._segment = Batcher(
            cascade, concurrency.batch, limits.batch_wait_s, self._is_alone, metrics.batch.observe
        )

    async def respond(self, upload: bytes, asked: Parameters, make: Make) -> bytes:
        """Return the response to one upload.

        Raises RequestError with the status and the reason if there is none.
        """
        if self._in_flight >= self._workers + self._limits.queue:
            raise RequestError(
                429,
                "queue_full",
                f"the queue is full ({self._limits.queue} images may wait)",
                math.ceil(self._in_flight / self._workers * self._mean_s),
            )
        self._count(1)  # on this thread only, so that no two requests take the last place
        work = self._pool.submit(self._work, upload, asked, make)
        work.add_done_callback(lambda _: self._count(-1))
        return await self._outcome(work)

    async def _outcome(self, work: Future[bytes]) -> bytes:
        limit = self._limits.response_s
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), limit)
        except (TimeoutError, asyncio.TimeoutError):
            reason = f"the image was not segmented within {limit:g} s"
            raise RequestError(503, "timeout", reason, math.ceil(limit / 10)) from None
        except SizeError as error:
            raise RequestError(413, "too_large", f"the upload {error}") from None
        except PagesError as error:
            raise RequestError(
                422, "image", f"the upload {error}, or ask for ?page=N of a TIFF"
            ) from None
        except ImageError as error:
            unknown = str(error).startswith("is not an image")
            hint = "; curl sends a file unchanged by --data-binary, not by -d" * unknown
            raise RequestError(422, "image", f"the upload {error}{hint}") from None
        except GraphError as error:
            raise RequestError(422, "image", str(error)) from None
        except (MemoryError, DeviceMemoryError) as error:
            raise RequestError(503, "memory", f"not enough memory: {error}", 1) from None
        except EngineError as error:
            self.fault = error
            raise RequestError(500, "engine", f"the engine failed: {error}") from None

    @property
    def problem(self) -> str:
        """Why a request would not get a mask, "" if it would."""
        if self.fault is not None:
            return str(self.fault)
        limit, now = self._limits.response_s, time.monotonic()
        late = sum(now - started > limit for started in list(self._started.values()))
        return (
            ""
            if late < self._workers
            else f"every worker has been busy with one image for over {limit:g} s"
        )

    def _work(self, upload: bytes, asked: Parameters, make: Make) -> bytes:
        me, started = threading.get_ident(), time.monotonic()
        self._started[me] = started
        try:
            return self._respond(upload, asked, make)
        finally:
            del self._started[me]
            self._mean_s += 0.1 * (time.monotonic() - started - self._mean_s)

    def _respond(self, upload: bytes, asked: Parameters, make: Make) -> bytes:
        most, channels = self._limits.max_pixels, self.cascade.spec.channels
        image = image_in_memory(upload, asked.page, most, self._window, channels)
        with self._budget.room(image.size):
            result = self._segment(image, asked.probabilities)
            if asked.decision:
                result = decide(result, self.cascade.spec, asked.decision)
            return make(image, result, self.cascade.bundle)

    def _is_alone(self) -> bool:
        return self._in_flight <= 1

    def _count(self, change: int) -> None:
        with self._lock:
            self._in_flight += change
            self._metrics.working.set(min(self._in_flight, self._workers))
            self._metrics.queue.set(max(0, self._in_flight - self._workers))

    def close(self) -> None:
        """Wait for images being processed; cancel those that wait."""
        self._pool.shutdown(cancel_futures=True)
