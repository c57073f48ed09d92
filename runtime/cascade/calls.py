"""One call of the graph: images of one shape go in, checked results come out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate.runtime.cascade.checks import check_values
from foveate.runtime.engines.base import HOST, Array, Engine, Feed, Pixels, Submitting, feed
from foveate.runtime.errors import GraphError, ImageError, PlanError
from foveate.runtime.foreign_arrays import Image, Taken, shape_of, target
from foveate.runtime.gpu_array import GpuArray
from foveate.runtime.input_types import as_input_type, gpu_feed
from foveate.runtime.result import Result, Timings, results_of
from foveate.runtime.spec import CascadeSpec
from foveate.runtime.ticket import Finished, StageTimes

OUTPUTS = ("mask", "box", "score")
PROBABILITIES = ("coarse", "refined")
Wait = Callable[[bool, Mapping[str, Array] | None], Finished]
"""Waits for a run: whether its arrays are to be copied, and where outputs are to be written."""


@dataclass(frozen=True)
class Caller:
    """Calls an engine. Errors name the file ``graph``; ``label`` is engine and precision."""

    engine: Engine
    spec: CascadeSpec
    graph: Path
    label: str

    def begin(self, images: Sequence[Taken], probabilities: bool, out: Image | None = None) -> Call:
        """Return a call that was begun. An engine that cannot work ahead has done it by then.

        The images may be changed once this returns, one on a GPU when the call is finished. The
        mask of a single image goes into ``out``. What is wrong with images or ``out`` raises
        ImageError here; what goes wrong later is raised by ``finish``.
        """
        if out is not None and shape_of(images[0]):
            return self._into(out, images, probabilities)
        return self._begin(images, probabilities)

    def _into(self, out: Image, images: Sequence[Taken], probabilities: bool) -> Call:
        """Return the call of one image whose mask goes into ``out``."""
        written = target(out, shape_of(images[0]))
        if isinstance(written, GpuArray):
            call = self._begin(images, probabilities, {"mask": written})
            return replace(call, out=out)
        return replace(
            self._begin(images, probabilities), out=out, host_out={"mask": written[None]}
        )

    def _begin(
        self,
        images: Sequence[Taken],
        probabilities: bool,
        into: Mapping[str, GpuArray] = HOST,
    ) -> Call:
        started = time.perf_counter()
        wanted = [*OUTPUTS, *(PROBABILITIES if probabilities else ())]
        if not isinstance(self.engine, Submitting):
            return self._run(_on_host(images, into, self.label), wanted, started)
        value = self._fed(images)
        shape = (len(images), *images[0].shape)
        fed_ms = 1000 * (time.perf_counter() - started)
        with self._named():
            ticket = self.engine.submit({"image": value}, wanted, into)
        return Call(self, shape, fed_ms, ticket.result)

    def _fed(self, images: Sequence[Taken]) -> Feed:
        """Return images as an engine takes them that copies them itself."""
        first, input_type = images[0], self.spec.input_type
        if isinstance(first, GpuArray):
            assert len(images) == 1, "images on a GPU run one by one"
            return gpu_feed(first, input_type)
        hosted = [image for image in images if not isinstance(image, GpuArray)]
        return [feed(as_input_type(image, input_type)[None])[0] for image in hosted]

    def _run(self, images: Sequence[Pixels], wanted: Sequence[str], started: float) -> Call:
        """Return the call of images that an engine has run."""
        converted = [as_input_type(image, self.spec.input_type) for image in images]
        shape = (len(converted), *converted[0].shape)
        feeds = {"image": feed(_stacked(converted))}
        fed = time.perf_counter()
        with self._named():
            found = self.engine.run(feeds, wanted)
        times = StageTimes(0.0, 1000 * (time.perf_counter() - fed), 0.0, False)
        done = partial(_done, Finished(found, times))
        return Call(self, shape, 1000 * (fed - started), done)

    def results(self, call: Call, copy: bool) -> list[Result]:
        with self._named():
            done = call.wait(copy, call.host_out)
        received = time.perf_counter()
        check_values(done.outputs, call.shape, self.spec, self.graph)
        times = done.times
        d2h_ms = times.d2h_ms + 1000 * (time.perf_counter() - received)
        timings = Timings(call.fed_ms + times.h2d_ms, times.execute_ms, d2h_ms)
        found = results_of(done.outputs, call.shape[0], timings, self.label)
        return [replace(found[0], mask=call.out)] if call.out is not None else found

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
    """A call under way. ``shape`` is (N, H, W).

    ``out`` is what a caller gave for the mask, ``host_out`` the same by the output's name where it
    is on the host.
    """

    caller: Caller
    shape: tuple[int, int, int]
    fed_ms: float
    wait: Wait
    out: Any = None
    host_out: Mapping[str, Array] | None = None

    def finish(self, copy: bool = True) -> list[Result]:
        """Return its results, waiting for them; without ``copy`` they may be views (``Ticket``)."""
        return self.caller.results(self, copy)


def _on_host(images: Sequence[Taken], into: Mapping[str, GpuArray], label: str) -> Sequence[Pixels]:
    """Return images as they are; ImageError where one, or a mask to be, is on a GPU."""
    hosted = [image for image in images if not isinstance(image, GpuArray)]
    if len(hosted) < len(images) or into:
        raise ImageError(
            f"an image or its mask is in a GPU's memory, and {label} works on the host's: copy it "
            "there, or use --engine tensorrt"
        )
    return hosted


def _stacked(images: Sequence[Pixels]) -> Pixels:
    """Return images of one shape as a batch; a single one without a copy."""
    if len(images) == 1:
        return np.ascontiguousarray(images[0])[None]  # type: ignore[return-value]  # as below
    return np.stack(images)  # type: ignore[return-value]  # one type for all


def _done(finished: Finished, copy: bool, out: Mapping[str, Array] | None) -> Finished:
    """Return what an engine on the CPU gave, which nobody else holds."""
    for name, place in (out or {}).items():
        np.copyto(place, finished.outputs[name])
    return finished
