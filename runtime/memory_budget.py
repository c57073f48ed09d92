"""The bytes of working memory that calls of ONNX Runtime stay within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from foveate.runtime.budget import Budget
from foveate.runtime.bundle import Bundle
from foveate.runtime.engines import PLANNED
from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.working_memory import WorkingMemory, working_memory

MB = 1_000_000


class MemoryBudget:
    """Lets calls run while what they take fits. Safe from several threads.

    The arena keeps what it once took for later calls, of any size. Images of 64 MB and more go past
    it: they have a part of their own, what the largest of the others leave, and none where that is
    nothing.
    """

    def __init__(self, memory: WorkingMemory, nbytes: int) -> None:
        self._memory, self._nbytes = memory, nbytes
        self._shared = min(nbytes, memory.most_small)
        self._large = nbytes - self._shared
        self._small_calls, self._large_calls = Budget(self._shared), Budget(max(1, self._large))
        if memory.nbytes(1, 1) > nbytes:
            raise SettingsError(
                f"memory_budget is {nbytes} bytes; this bundle's networks alone take "
                f"{memory.nbytes(1, 1)}. Give more"
            )

    def most_images(self, pixels: int) -> int:
        """Return how many images of so many pixels one call may have; 0: they are too large."""
        return self._part(pixels) // self._memory.nbytes(1, pixels)

    @contextmanager
    def room(self, count: int, pixels: int) -> Iterator[None]:
        """Hold what a call takes, once it is there; ImageError where it never will be."""
        part, wanted = self._part(count * pixels), self._memory.nbytes(count, pixels)
        if wanted > part:
            what = "an image" if count == 1 else f"{count} images"
            raise ImageError(
                f"{what} of {pixels} pixels would take {wanted / MB:.0f} MB of working memory; "
                f"memory_budget {self._nbytes / MB:.0f} MB has room for one image of "
                f"{self._most_pixels()}. Raise it, or make the image smaller"
            )
        large = self._memory.is_large(count * pixels)
        calls = self._large_calls if large else self._small_calls
        with calls.room(wanted):
            yield

    def _part(self, pixels: int) -> int:
        return self._large if self._memory.is_large(pixels) else self._shared

    def _most_pixels(self) -> int:
        """Return the pixels of the largest image that there is room for."""
        memory = self._memory
        large = int((self._large - memory.an_image) / memory.a_large_pixel)
        small = int((self._shared - memory.an_image) / memory.a_pixel)
        if memory.is_large(large):
            return large
        return min(small, memory.large - 1)


def memory_budget_of(bundle: Bundle, engine: str, nbytes: int) -> MemoryBudget | None:
    """Return what keeps calls on a CPU within so many bytes; None for no limit, or with plans.

    SettingsError for bytes that are too few, and for what nobody has measured.
    """
    if not nbytes or engine == PLANNED:
        return None
    memory = working_memory(engine, bundle.spec, bundle.manifest["network"])
    return MemoryBudget(memory, nbytes)
