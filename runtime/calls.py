"""One call of the graph: images of one shape go in, checked results come out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from foveate.runtime.engines.base import Engine, Pixels, Submitting, feed
from foveate.runtime.errors import GraphError, PlanError
from foveate.runtime.graph_check import check_values
from foveate.runtime.input_types import as_input_type
from foveate.runtime.result import Result, Timings, results_of
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.ticket import Finished, StageTimes

OUTPUTS = ("mask", "box", "score")
PROBABILITIES = ("coarse", "refined")


@dataclass(frozen=True)
class Caller:
    """Calls an engine. Errors name the file ``graph``; ``label`` is engine and precision."""

    engine: Engine
    spec: CascadeSpec
    graph: Path
    label: str

    def begin(self, images: Sequence[Pixels], probabilities: bool) -> Call:
        """Return a call that was begun. An engine that cannot work ahead has done it by then.

        The images may be changed once this returns. What is wrong with them raises ImageError
        here; what goes wrong later is raised by ``finish``.
        """
        started = time.perf_counter()
        converted = [as_input_type(image, self.spec.input_type) for image in images]
        wanted = [*OUTPUTS, *(PROBABILITIES if probabilities else ())]
        shape = (len(converted), *converted[0].shape)
        if isinstance(self.engine, Submitting):
            parts = [feed(image[None])[0] for image in converted]
            fed_ms = 1000 * (time.perf_counter() - started)
            with self._named():
                ticket = self.engine.submit({"image": parts}, wanted)
            return Call(self, shape, fed_ms, ticket.result)
        feeds = {"image": feed(_stacked(converted))}
        fed = time.perf_counter()
        with self._named():
            found = self.engine.run(feeds, wanted)
        times = StageTimes(0.0, 1000 * (time.perf_counter() - fed), 0.0, False)
        done = partial(_done, Finished(found, times))
        return Call(self, shape, 1000 * (fed - started), done)

    def results(self, call: Call, copy: bool) -> list[Result]:
        with self._named():
            done = call.wait(copy)
        received = time.perf_counter()
        check_values(done.outputs, call.shape, self.spec, self.graph)
        times = done.times
        d2h_ms = times.d2h_ms + 1000 * (time.perf_counter() - received)
        timings = Timings(call.fed_ms + times.h2d_ms, times.execute_ms, d2h_ms)
        return results_of(done.outputs, call.shape[0], timings, self.label)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the graph's file into an error about it."""
        try:
            yield
        except PlanError:
            raise  # it names the graph itself
        except GraphError as error:
            raise GraphError(f"{self.graph}: {error}") from error


@dataclass(frozen=True)
class Call:
    """A call under way. ``shape`` is (N, H, W)."""

    caller: Caller
    shape: tuple[int, int, int]
    fed_ms: float
    wait: Callable[[bool], Finished]

    def finish(self, copy: bool = True) -> list[Result]:
        """Return its results, waiting for them; without ``copy`` they may be views (``Ticket``)."""
        return self.caller.results(self, copy)


def _stacked(images: Sequence[Pixels]) -> Pixels:
    """Return images of one shape as a batch; a single one without a copy."""
    if len(images) == 1:
        return np.ascontiguousarray(images[0])[None]  # type: ignore[return-value]  # as below
    return np.stack(images)  # type: ignore[return-value]  # one type for all


def _done(finished: Finished, copy: bool) -> Finished:
    return finished
