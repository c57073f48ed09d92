"""Images that were submitted, and the thread that sees to them in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from foveate.runtime.closing import Closing
from foveate.runtime.errors import EngineError
from foveate.runtime.foreign_arrays import Image, taken
from foveate.runtime.result import Result
from foveate.runtime.runs import Runs
from foveate.runtime.slot import CLOSED


class Submissions(Closing):
    """Segments what is submitted in order, in a thread of its own. Safe from several threads.

    At most ``most`` images are in hand. An error is its own future's. The thread starts with the
    first image and ends in ``close``.
    """

    def __init__(self, runs: Runs, most: int) -> None:
        self._runs = runs
        self._room = threading.BoundedSemaphore(most)
        self._worker = ThreadPoolExecutor(1, "foveate-submit", self._note_thread)
        self._thread = 0

    @property
    def in_its_thread(self) -> bool:
        """Whether this is called by the thread that sees to the images: by a callback."""
        return threading.get_ident() == self._thread

    def _note_thread(self) -> None:
        self._thread = threading.get_ident()

    def __call__(self, image: Image, probabilities: bool) -> Future[Result]:
        """Return the future of a result; waits only while as many as may be are in hand."""
        self._room.acquire()
        try:
            future = self._begun(image, probabilities)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Wait until all that was submitted is done, and end the thread."""
        self._worker.shutdown(wait=True)

    def _begun(self, image: Image, probabilities: bool) -> Future[Result]:
        try:
            finish = self._prepared(image, probabilities)
        except Exception as error:
            future: Future[Result] = Future()
            future.set_exception(error)
            return future
        try:
            return self._worker.submit(finish)
        except RuntimeError as error:
            raise EngineError(CLOSED) from error

    def _prepared(self, image: Image, probabilities: bool) -> Callable[[], Result]:
        """Return what gives the result of an image that may change from now on.

        A GPU's runs are under way by then; those of a CPU are left to the thread.
        """
        found = taken(image)
        if self._runs.works_ahead(found):
            call = self._runs.begin([found], probabilities)
            return lambda: call.finish()[0]
        own = found.copy() if isinstance(found, np.ndarray) else found
        return lambda: self._runs.begin([own], probabilities).finish()[0]
