"""Collect images of several threads into batches of one size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.result import Result, Timings

WAIT_S = 0.02
"""How long the first image of a batch waits for others of its size."""


@dataclass
class _Group:
    images: list[Pixels] = field(default_factory=list)
    full: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    results: list[Result] | None = None


class Batcher:
    """Segment one image per call, batched with those that other threads submit meanwhile.

    The first thread with an image of some size waits at most ``wait_s`` for others, and not at all
    if ``alone()`` says that none is coming; then it runs the batch. If a batch fails, its images
    run one by one, so that each raises only its own error. ``ran`` receives each batch's size.
    """

    def __init__(
        self,
        cascade: Cascade,
        batch: int,
        wait_s: float = WAIT_S,
        alone: Callable[[], bool] = lambda: False,
        ran: Callable[[int], object] = lambda images: None,
    ) -> None:
        self._cascade, self._batch, self._wait_s = cascade, batch, wait_s
        self._alone, self._ran = alone, ran
        self._lock = threading.Lock()
        self._open: dict[tuple[tuple[int, ...], str, bool], _Group] = {}

    def __call__(self, image: Pixels, probabilities: bool = False) -> Result:
        """Return the result of one image; raises what a call of the cascade raises."""
        if self._batch == 1:
            return self._single(image, probabilities)
        group, index = self._join(image, probabilities)
        if index == 0:
            if not self._alone():
                group.full.wait(self._wait_s)
            self._run(image, group, probabilities)
        group.done.wait()
        if group.results is None:
            return self._single(image, probabilities)
        return group.results[index]

    def _single(self, image: Pixels, probabilities: bool) -> Result:
        result = self._cascade(image, probabilities)
        self._ran(1)
        return result

    def _join(self, image: Pixels, probabilities: bool) -> tuple[_Group, int]:
        key = (image.shape, str(image.dtype), probabilities)
        with self._lock:
            group = self._open.setdefault(key, _Group())
            group.images.append(image)
            index = len(group.images) - 1
            if len(group.images) == self._batch:
                del self._open[key]
                group.full.set()
        return group, index

    def _run(self, image: Pixels, group: _Group, probabilities: bool) -> None:
        key = (image.shape, str(image.dtype), probabilities)
        with self._lock:
            if self._open.get(key) is group:
                del self._open[key]
        try:
            if len(group.images) > 1:
                results = self._cascade.batch(group.images, probabilities)
                self._ran(len(results))
                group.results = [_with_share(result, len(results)) for result in results]
        except Exception:
            group.results = None  # each image then runs alone and raises its own error
        finally:
            group.done.set()


def _with_share(result: Result, images: int) -> Result:
    """Return a result with its share of the times of the batch, which all of it have whole."""
    if result.timings is None:
        return result
    times = (getattr(result.timings, item.name) / images for item in fields(Timings))
    return replace(result, timings=Timings(*times))
