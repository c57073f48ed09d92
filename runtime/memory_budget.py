"""The bytes of working memory that the calls of a cascade on a CPU stay within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from foveate.runtime.budget import Budget
from foveate.runtime.bundle import Bundle
from foveate.runtime.engines import PLANNED
from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.working_memory import WorkingMemory, working_memory

MB = 1_000_000
KEEPS_EACH = "openvino"
"""The engine whose runs side by side each keep the memory of the largest they ever were."""


class MemoryBudget:
    """Lets calls run while what they take fits. Safe from several threads.

    An engine keeps what it once took for its next calls, so ``shared`` is what calls together ever
    take, not what they hold now. ONNX Runtime runs images of 64 MB and more beside what it keeps:
    they have their own part, what the largest of the others leave, and none where that is nothing.
    """

    def __init__(self, memory: WorkingMemory, nbytes: int, one_by_one: bool = False) -> None:
        self._memory, self._nbytes, self._one_by_one = memory, nbytes, one_by_one
        self._shared = nbytes
        if memory.large:
            self._shared = min(nbytes, memory.nbytes(1, memory.large))
        self._large = nbytes - self._shared
        self._small_calls, self._large_calls = Budget(self._shared), Budget(max(1, self._large))
        if memory.most_pixels(self._shared) < 1:
            raise SettingsError(
                f"memory_budget is {nbytes / MB:.0f} MB; this bundle's networks alone take "
                f"{memory.an_image / MB:.0f} MB. Give more"
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
        calls = self._large_calls if self._is_large(count * pixels) else self._small_calls
        with calls.room(part if self._one_by_one else wanted):
            yield

    def _is_large(self, pixels: int) -> bool:
        return 0 < self._memory.large <= pixels

    def _part(self, pixels: int) -> int:
        return self._large if self._is_large(pixels) else self._shared

    def _most_pixels(self) -> int:
        most = self._memory.most_pixels(self._large)
        if self._is_large(most):
            return most
        shared = self._memory.most_pixels(self._shared)
        return min(shared, self._memory.large - 1) if self._memory.large else shared


def memory_budget_of(bundle: Bundle, engine: str, nbytes: int) -> MemoryBudget | None:
    """Return what keeps calls on a CPU within so many bytes; None for no limit, or with plans.

    SettingsError for bytes that are too few, and for what nobody has measured.
    """
    if nbytes < 0:
        raise SettingsError(f"memory_budget is {nbytes}; wanted bytes, or 0 for no limit")
    if not nbytes or engine == PLANNED:
        return None
    memory = working_memory(engine, bundle.spec, bundle.manifest["network"])
    return MemoryBudget(memory, nbytes, one_by_one=engine == KEEPS_EACH)
