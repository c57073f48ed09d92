"""Choose how many images of a shape one call of an engine has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from foveate.runtime.arrays import GpuArray
from foveate.runtime.engines.base import AsyncEngine, Engine
from foveate.runtime.foreign_arrays import HostOrDeviceImage, shape_of

BATCH_PIXELS = 1 << 22
"""On a CPU, images of one size run together up to this many pixels in total."""
PART_IMAGES = 8
"""A batch is divided among several slots in multiples of this many images."""
Shape = tuple[int, ...]


class BatchSizes:
    """Divide images into calls. ``fallback``: another engine takes what no plan covers."""

    def __init__(self, engine: Engine, fallback: bool) -> None:
        self._engine, self._fallback = engine, fallback
        self._fitting: dict[Shape, int] = {}

    def parts(self, images: Sequence[HostOrDeviceImage]) -> Iterator[list[int]]:
        """Yield the indices of images that run together: of one shape, no more than fit.

        An image on a GPU runs alone.
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
        """Return how many of ``count`` images of a shape one call takes, at least one."""
        count = min(count, self._fitting.get(shape, count))
        if isinstance(self._engine, AsyncEngine) and len(shape) >= 2:
            planned = self._engine.most_images(count, *shape[:2])
            if planned or not self._fallback:
                return max(1, planned)
        return max(1, min(count, BATCH_PIXELS // max(1, prod(shape))))

    def _part(self, count: int, shape: Shape) -> int:
        """Return how many of ``count`` images of a shape form a part if slots share them.

        Copies of one part overlap with the execution of another; parts have the same size where
        possible, so that each slot repeats it.
        """
        slots = self._engine.max_in_flight if isinstance(self._engine, AsyncEngine) else 1
        part = max(PART_IMAGES, count // slots // PART_IMAGES * PART_IMAGES)
        return part if slots > 1 and part < count and self.planned(part, shape) else count

    def halve(self, count: int, shape: Shape) -> int:
        """Return half of a count that was too large; larger calls are not tried again."""
        half = self._fitting[shape] = (count + 1) // 2
        return half

    def planned(self, count: int, shape: Shape) -> bool:
        """Return whether a plan covers a call; a shape without (H, W) fails before a plan."""
        if not isinstance(self._engine, AsyncEngine) or len(shape) < 2:
            return True
        return self._engine.most_images(count, *shape[:2]) == count
