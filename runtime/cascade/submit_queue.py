"""A queue of submitted images and the thread that completes them in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from foveate.runtime.cascade.session import Session
from foveate.runtime.closeable import CLOSED, Closeable
from foveate.runtime.errors import EngineError
from foveate.runtime.foreign_arrays import Image, as_image
from foveate.runtime.result import Result


class SubmitQueue(Closeable):
    """Segment submitted images in order on a thread of its own. Safe from several threads.

    At most ``most`` images are in flight. An error belongs to its own future. The thread starts
    with the first image and ends with ``close`` or garbage collection: neither the thread nor a
    completed future holds a reference to this or to the engine.
    """

    def __init__(self, session: Session, most: int) -> None:
        self._session = session
        self._room = threading.BoundedSemaphore(most)
        self._own = threading.local()
        self._worker = ThreadPoolExecutor(
            1, "foveate-submit", initializer=setattr, initargs=(self._own, "thread", True)
        )

    @property
    def in_its_thread(self) -> bool:
        """Whether the caller is the thread of the queue, that is, a callback of a future."""
        return bool(getattr(self._own, "thread", False))

    def __call__(self, image: Image, probabilities: bool) -> Future[Result]:
        """Return the future of a result; blocks only while the maximum is in flight."""
        room = self._room
        room.acquire()
        try:
            future = self._queue(image, probabilities)
        except BaseException:
            room.release()
            raise
        future.add_done_callback(lambda _: room.release())
        return future

    def close(self) -> None:
        """Wait until everything submitted is done, and end the thread."""
        self._worker.shutdown(wait=True)

    def _queue(self, image: Image, probabilities: bool) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            finish = self._prepared(image, probabilities)
        except Exception as error:
            future.set_exception(error)
            return future
        try:
            self._worker.submit(_complete, future, finish)
        except RuntimeError as error:
            raise EngineError(CLOSED) from error
        return future

    def _prepared(self, image: Image, probabilities: bool) -> Callable[[], Result]:
        """Return a function that gives the result of an image, which may be changed from now on.

        On a GPU the run is in flight by then; a CPU run is left to the thread.
        """
        session, found = self._session, as_image(image)
        if session.starts_at_once(found):
            begun = session.begin([found], probabilities)
            return lambda: begun.results()[0]
        own = found.copy() if isinstance(found, np.ndarray) else found
        return lambda: session.begin([own], probabilities).results()[0]


def _complete(future: Future[Result], finish: Callable[[], Result]) -> None:
    """Complete a future. An exception of its callback is logged and does not end the thread."""
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
