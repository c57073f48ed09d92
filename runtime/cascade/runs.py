"""From images to calls of an engine and back: of what fits together, and halves where it does not.

What bounds a call is here: the process, the size of its tensors, plans.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from foveate.runtime.cascade.call_sizes import CallSizes
from foveate.runtime.cascade.calls import Call, Caller
from foveate.runtime.cascade.spare import Spare
from foveate.runtime.engines.base import Submitting
from foveate.runtime.errors import DeviceMemoryError, SmallerBatchWarning
from foveate.runtime.foreign_arrays import Image, Taken, shape_of
from foveate.runtime.home_process import HomeProcess
from foveate.runtime.limits import check_elements
from foveate.runtime.result import Result


@dataclass(frozen=True)
class Bounds:
    """What bounds the runs of an engine beside the engine itself.

    ``spare`` takes what no plan covers; ``width`` is the networks'.
    """

    home: HomeProcess
    spare: Spare | None
    width: int


class Runs:
    """The runs of an engine. Safe from several threads."""

    def __init__(self, caller: Caller, bounds: Bounds) -> None:
        self._caller, self._bounds = caller, bounds
        self._sizes = CallSizes(caller.engine, bounds.spare is not None)

    @property
    def beside(self) -> int:
        """How many calls may be under way beside the one whose result is used; 0 on a CPU."""
        engine = self._caller.engine
        return engine.ahead - 1 if isinstance(engine, Submitting) else 0

    def begin(self, images: Sequence[Taken], probabilities: bool, out: Image | None = None) -> Call:
        """Return the call of images of one shape, run as one batch, after it was begun."""
        bounds, shape = self._bounds, shape_of(images[0])
        bounds.home.check()
        check_elements(self._caller.spec, bounds.width, len(images), shape)
        if bounds.spare is not None and not self._sizes.planned(len(images), shape):
            return bounds.spare.cascade().runs.begin(images, probabilities, out)
        return self._caller.begin(images, probabilities, out)

    def works_ahead(self, image: Taken) -> bool:
        """Say whether a run of an image is under way when its call was begun, and not yet over."""
        submitting = isinstance(self._caller.engine, Submitting)
        return submitting and self._sizes.planned(1, shape_of(image))

    def finished(self, call: Call, images: Sequence[Taken], probabilities: bool) -> list[Result]:
        """Return the results of a call, in two halves where the device has no room for it."""
        try:
            return call.finish()
        except DeviceMemoryError as error:
            if len(images) == 1:
                raise
            half = self._sizes.halve(len(images), images[0].shape)
            text = f"{error}. Trying {half} images at a time in place of {len(images)}."
            warnings.warn(SmallerBatchWarning(text), stacklevel=3)
        found = []
        for part in (images[:half], images[half:]):
            found += self.finished(self.begin(part, probabilities), part, probabilities)
        return found

    def batch(self, images: Sequence[Taken], probabilities: bool) -> list[Result]:
        """Return one result per image, in order; those of one shape run together."""
        results: dict[int, Result] = {}
        waiting: deque[tuple[list[int], Call]] = deque()

        def take() -> None:
            part, call = waiting.popleft()
            found = self.finished(call, [images[index] for index in part], probabilities)
            results.update(zip(part, found, strict=True))

        for part in self._sizes.parts(images):
            call = self.begin([images[index] for index in part], probabilities)
            waiting.append((part, call))
            if len(waiting) > self.beside:
                take()
        while waiting:
            take()
        return [results[index] for index in range(len(images))]
