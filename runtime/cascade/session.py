"""Run images through an engine: checked feeds in, checked results out, in batches that fit."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate.runtime.arrays import (
    HOST,
    Array,
    Feed,
    GpuArray,
    Pixels,
    as_input_type,
    feed,
    gpu_feed,
)
from foveate.runtime.cascade.batching import BatchSizes
from foveate.runtime.cascade.checks import check_signature, check_values
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.cascade.fallback import Fallback
from foveate.runtime.closeable import Closeable, ForkGuard
from foveate.runtime.engines.base import AsyncEngine, Engine, RunOutputs, RunTimes
from foveate.runtime.errors import (
    DeviceMemoryError,
    GraphError,
    ImageError,
    PlanError,
    SmallerBatchWarning,
)
from foveate.runtime.foreign_arrays import HostOrDeviceImage, Image, output_array, shape_of
from foveate.runtime.limits import check_elements
from foveate.runtime.result import Result, Timings, results_of
from foveate.runtime.spec import CascadeSpec

OUTPUTS = ("mask", "box", "score")
PROBABILITIES = ("coarse", "refined")
Wait = Callable[[bool, Mapping[str, Array] | None], RunOutputs]
"""Waits for a run: whether to copy its arrays, and where to write outputs."""


@dataclass(frozen=True)
class SessionLimits:
    """What limits a session, apart from its engine, and how it decides its masks.

    ``fallback`` takes images that no plan covers; ``width`` is ``Bundle.width``.
    """

    guard: ForkGuard
    fallback: Fallback[Session] | None
    width: int
    decision: Decision = Decision()


class Session(Closeable):
    """An engine with the spec of its graph. Safe from several threads.

    Errors name the file ``graph``; ``label`` is engine and precision.
    """

    def __init__(
        self, engine: Engine, spec: CascadeSpec, graph: Path, label: str, limits: SessionLimits
    ) -> None:
        check_signature(engine, spec, graph)
        self.engine, self.spec = engine, spec
        self._graph, self._label, self._limits = graph, label, limits
        self._sizes = BatchSizes(engine, limits.fallback is not None)

    @property
    def max_in_flight(self) -> int:
        """How many calls can be in flight; 1 on a CPU."""
        return self.engine.max_in_flight if isinstance(self.engine, AsyncEngine) else 1

    def begin(
        self,
        images: Sequence[HostOrDeviceImage],
        probabilities: bool = False,
        out: Image | None = None,
    ) -> PendingResults:
        """Start the call of images of one shape as one batch; a synchronous engine completes it.

        The images may be changed once this returns, one on a GPU once the results are there. The
        mask of a single image is written to ``out``. Raises ImageError for images or an ``out``
        that cannot be used; later errors are raised by ``PendingResults.results``.
        """
        shape = shape_of(images[0])
        self._limits.guard.check()
        check_elements(self.spec, self._limits.width, len(images), shape[:2])
        fallback = self._limits.fallback
        if fallback is not None and not self._sizes.planned(len(images), shape):
            return fallback.session().begin(images, probabilities, out)
        if out is None or not shape:
            return self._begin(images, probabilities)
        target = output_array(out, shape[:2])
        if isinstance(target, GpuArray):
            if self._limits.decision != Decision():
                raise ImageError(
                    "the mask is to be written to a GPU's memory, and this cascade decides masks "
                    "in the host's (decide=): give an array of the host"
                )
            return replace(self._begin(images, probabilities, {"mask": target}), out=out)
        begun = self._begin(images, probabilities)
        return replace(begun, out=out, host_out={"mask": target[None]})

    def run_batch(
        self, images: Sequence[HostOrDeviceImage], probabilities: bool = False
    ) -> list[Result]:
        """Return the results of images of one shape that run as one call.

        If a GPU has not enough memory for it, halves are tried, with a SmallerBatchWarning.
        """
        return self._results(self.begin(images, probabilities), images, probabilities)

    def batch(
        self, images: Sequence[HostOrDeviceImage], probabilities: bool = False
    ) -> list[Result]:
        """Return one result per image, in order; images of one shape run together."""
        results: dict[int, Result] = {}
        pending: deque[tuple[list[int], PendingResults]] = deque()

        def collect() -> None:
            part, begun = pending.popleft()
            found = self._results(begun, [images[index] for index in part], probabilities)
            results.update(zip(part, found, strict=True))

        for part in self.parts(images):
            begun = self.begin([images[index] for index in part], probabilities)
            pending.append((part, begun))
            if len(pending) >= self.max_in_flight:
                collect()
        while pending:
            collect()
        return [results[index] for index in range(len(images))]

    def parts(self, images: Sequence[HostOrDeviceImage]) -> Iterator[list[int]]:
        """Yield the indices of the images of each call that a batch is divided into."""
        return self._sizes.parts(images)

    def starts_at_once(self, image: HostOrDeviceImage) -> bool:
        """Return whether a run of an image is in flight, not yet over, once ``begin`` returns."""
        return isinstance(self.engine, AsyncEngine) and self._sizes.planned(1, shape_of(image))

    def close(self) -> None:
        """Close the engine, and the fallback if it was opened."""
        with ExitStack() as ends:
            ends.callback(self.engine.close)
            if self._limits.fallback is not None:
                ends.callback(self._limits.fallback.close)

    def _results(
        self, begun: PendingResults, images: Sequence[HostOrDeviceImage], probabilities: bool
    ) -> list[Result]:
        """Return the results of a call, in two halves if the device has no memory for it."""
        try:
            return begun.results()
        except DeviceMemoryError as error:
            if len(images) == 1:
                raise
            half = self._sizes.halve(len(images), images[0].shape)
            text = f"{error}. Trying {half} images at a time instead of {len(images)}."
            warnings.warn(SmallerBatchWarning(text), stacklevel=4)
        halves = (images[:half], images[half:])
        return [result for part in halves for result in self.run_batch(part, probabilities)]

    def _begin(
        self,
        images: Sequence[HostOrDeviceImage],
        probabilities: bool,
        into: Mapping[str, GpuArray] = HOST,
    ) -> PendingResults:
        started = time.perf_counter()
        names = [*OUTPUTS, *(PROBABILITIES if probabilities else ())]
        if self._limits.decision.threshold is not None and not probabilities:
            names.append("refined")
        if not isinstance(self.engine, AsyncEngine):
            return self._run(self._on_host(images, into), names, started)
        value = self._feed(images)
        height, width = images[0].shape[:2]
        shape = len(images), height, width
        feed_ms = 1000 * (time.perf_counter() - started)
        with self._graph_named():
            run = self.engine.submit({"image": value}, names, into)
        return PendingResults(self, shape, feed_ms, run.result)

    def _feed(self, images: Sequence[HostOrDeviceImage]) -> Feed:
        """Return images for an engine that copies them itself."""
        first, kind = images[0], self.spec.input_kind
        if isinstance(first, GpuArray):
            assert len(images) == 1, "images on a GPU run one by one"
            return gpu_feed(first, *kind)
        hosted = [image for image in images if not isinstance(image, GpuArray)]
        return [feed(as_input_type(image, *kind)[None])[0] for image in hosted]

    def _run(
        self, images: Sequence[Pixels], names: Sequence[str], started: float
    ) -> PendingResults:
        """Run images on a synchronous engine."""
        converted = [as_input_type(image, *self.spec.input_kind) for image in images]
        height, width = converted[0].shape[:2]
        shape = len(converted), height, width
        feeds = {"image": feed(_stacked(converted))}
        fed = time.perf_counter()
        with self._graph_named():
            outputs = self.engine.run(feeds, names)
        times = RunTimes(0.0, 1000 * (time.perf_counter() - fed), 0.0, False)
        wait = partial(_write_out, RunOutputs(outputs, times))
        return PendingResults(self, shape, 1000 * (fed - started), wait)

    def _on_host(
        self, images: Sequence[HostOrDeviceImage], into: Mapping[str, GpuArray]
    ) -> Sequence[Pixels]:
        """Return images unchanged; ImageError if one, or an output, is on a GPU."""
        hosted = [image for image in images if not isinstance(image, GpuArray)]
        if len(hosted) < len(images) or into:
            raise ImageError(
                f"an image or its mask is in a GPU's memory, and {self._label} works on the "
                "host's: copy it there, or use --engine tensorrt"
            )
        return hosted

    def collect(self, begun: PendingResults, copy: bool) -> list[Result]:
        """Wait for a call of this session and return its checked results."""
        with self._graph_named():
            done = begun.wait(copy, begun.host_out)
        received = time.perf_counter()
        check_values(done.outputs, begun.shape, self.spec, self._graph)
        times = done.times
        d2h_ms = times.d2h_ms + 1000 * (time.perf_counter() - received)
        timings = Timings(begun.feed_ms + times.h2d_ms, times.execute_ms, d2h_ms)
        found = results_of(done.outputs, begun.shape[0], timings, self._label)
        if self._limits.decision != Decision():
            found = [self._decided(result) for result in found]
            for target in (begun.host_out or {}).values():
                np.copyto(target[0], found[0].mask)
        return found if begun.out is None else [replace(found[0], mask=begun.out)]

    def _decided(self, result: Result) -> Result:
        """Return a result decided anew, with both probabilities or none."""
        from foveate.runtime.cascade.decide import decide  # loads OpenCV

        decided = decide(result, self.spec, self._limits.decision)
        return decided if decided.coarse is not None else replace(decided, refined=None)

    @contextmanager
    def _graph_named(self) -> Iterator[None]:
        """Add the graph's file to an error about it."""
        try:
            yield
        except PlanError:
            raise  # it names the graph itself
        except GraphError as error:
            raise GraphError(f"{self._graph}: {error}") from error


@dataclass(frozen=True)
class PendingResults:
    """A call in flight. ``shape`` is (N, H, W).

    ``out`` is the caller's array for the mask, ``host_out`` the same by output name if it is on
    the host.
    """

    session: Session
    shape: tuple[int, int, int]
    feed_ms: float
    wait: Wait
    out: Any = None
    host_out: Mapping[str, Array] | None = None

    def results(self, copy: bool = True) -> list[Result]:
        """Wait for the results; without ``copy`` they may be views (see ``engines.base.Run``)."""
        return self.session.collect(self, copy)


def _stacked(images: Sequence[Pixels]) -> Pixels:
    """Return images of one shape as a batch; a single one without a copy."""
    if len(images) == 1:
        return np.ascontiguousarray(images[0])[None]  # type: ignore[return-value]  # as below
    return np.stack(images)  # type: ignore[return-value]  # one type for all


def _write_out(done: RunOutputs, copy: bool, out: Mapping[str, Array] | None) -> RunOutputs:
    """Return the outputs of a synchronous run, which belong to the caller already."""
    for name, target in (out or {}).items():
        np.copyto(target, done.outputs[name])
    return done
