"""Images that were submitted, and the thread that sees to them in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from foveate.runtime.cascade.runs import Runs
from foveate.runtime.closing import Closing
from foveate.runtime.engines.tensorrt.slot import CLOSED
from foveate.runtime.errors import EngineError
from foveate.runtime.foreign_arrays import Image, taken
from foveate.runtime.result import Result


class Submissions(Closing):
    """Segments what is submitted in order, in a thread of its own. Safe from several threads.

    At most ``most`` images are in hand. An error is its own future's. The thread starts with the
    first image and ends in ``close``, or when nobody holds this any more: neither the thread nor a
    future with its result holds it or its engine.
    """

    def __init__(self, runs: Runs, most: int) -> None:
        self._runs = runs
        self._room = threading.BoundedSemaphore(most)
        self._own = threading.local()
        self._worker = ThreadPoolExecutor(
            1, "foveate-submit", initializer=setattr, initargs=(self._own, "thread", True)
        )

    @property
    def in_its_thread(self) -> bool:
        """Whether this is called by the thread that sees to the images: by a callback."""
        return bool(getattr(self._own, "thread", False))

    def __call__(self, image: Image, probabilities: bool) -> Future[Result]:
        """Return the future of a result; waits only while as many as may be are in hand."""
        room = self._room
        room.acquire()
        try:
            future = self._begun(image, probabilities)
        except BaseException:
            room.release()
            raise
        future.add_done_callback(lambda _: room.release())
        return future

    def close(self) -> None:
        """Wait until all that was submitted is done, and end the thread."""
        self._worker.shutdown(wait=True)

    def _begun(self, image: Image, probabilities: bool) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            finish = self._prepared(image, probabilities)
        except Exception as error:
            future.set_exception(error)
            return future
        try:
            self._worker.submit(_see_to, future, finish)
        except RuntimeError as error:
            raise EngineError(CLOSED) from error
        return future

    def _prepared(self, image: Image, probabilities: bool) -> Callable[[], Result]:
        """Return what gives the result of an image that may change from now on.

        A GPU's runs are under way by then; those of a CPU are left to the thread.
        """
        runs, found = self._runs, taken(image)
        if runs.works_ahead(found):
            call = runs.begin([found], probabilities)
            return lambda: call.finish()[0]
        own = found.copy() if isinstance(found, np.ndarray) else found
        return lambda: runs.begin([own], probabilities).finish()[0]


def _see_to(future: Future[Result], finish: Callable[[], Result]) -> None:
    """Give a future its result. What a callback of it raises is logged and ends no thread."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        try:
            result = finish()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
    except BaseException:  # of a callback: sys.exit, say; its other errors the future logs itself
        import logging  # as concurrent.futures does for an Exception

        logging.getLogger("concurrent.futures").exception(
            "exception calling callback for %r", future
        )
    finally:
        del future, finish  # the traceback of an error holds this frame
