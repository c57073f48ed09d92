"""How many images of a shape one call of an engine has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from foveate.runtime.engines.base import Engine, Submitting
from foveate.runtime.foreign_arrays import Taken, shape_of
from foveate.runtime.gpu_array import GpuArray

BATCH_PIXELS = 1 << 22
"""Images of one size run together while they have no more pixels than this in all, on a CPU."""
PART_IMAGES = 8
"""A batch is divided for several slots into multiples of so many images."""
Shape = tuple[int, ...]


class CallSizes:
    """Divides images into calls. ``spare``: what no plan covers goes to another engine."""

    def __init__(self, engine: Engine, spare: bool) -> None:
        self._engine, self._spare = engine, spare
        self._fitting: dict[Shape, int] = {}

    def parts(self, images: Sequence[Taken]) -> Iterator[list[int]]:
        """Yield the indices of images that run together: of one shape, and no more than fit.

        An image on a GPU runs by itself.
        """
        groups: dict[tuple[Shape, int], list[int]] = {}
        for index, image in enumerate(images):
            alone = index if isinstance(image, GpuArray) else -1
            groups.setdefault((shape_of(image), alone), []).append(index)
        for (shape, _), indices in groups.items():
            part = self._part(len(indices), shape)
            while indices:
                step = min(part, self.most_images(len(indices), shape))
                yield indices[:step]
                indices = indices[step:]

    def most_images(self, count: int, shape: Shape) -> int:
        """Return how many of ``count`` images of a shape one call takes, one at least."""
        count = min(count, self._fitting.get(shape, count))
        if isinstance(self._engine, Submitting) and len(shape) == 2:
            planned = self._engine.most_images(count, *shape)
            if planned or not self._spare:
                return max(1, planned)
        return max(1, min(count, BATCH_PIXELS // max(1, prod(shape))))

    def _part(self, count: int, shape: Shape) -> int:
        """Return how many of ``count`` images of a shape run at once where slots share them.

        Copies of one part overlap with the execution of another; parts are of one size as far as
        they go, so that each slot repeats it.
        """
        slots = self._engine.ahead if isinstance(self._engine, Submitting) else 1
        part = max(PART_IMAGES, count // slots // PART_IMAGES * PART_IMAGES)
        return part if slots > 1 and part < count and self.planned(part, shape) else count

    def halve(self, count: int, shape: Shape) -> int:
        """Return half of what was too many; no more than that will be tried again."""
        half = self._fitting[shape] = (count + 1) // 2
        return half

    def planned(self, count: int, shape: Shape) -> bool:
        """Say whether a plan covers a call. What is no (H, W) does not get as far as a plan."""
        if not isinstance(self._engine, Submitting) or len(shape) != 2:
            return True
        return self._engine.most_images(count, *shape) == count
