"""How many pixels may be segmented at one time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PIXELS = 1 << 26
"""67 million pixels at a time: sixteen images of 2048 x 2048, or one of any size by itself."""


class PixelBudget:
    """Lets threads go on while the pixels of all of them fit; an image over the budget goes alone.

    In the order of asking, so that a large image is not passed by small ones for ever.
    """

    def __init__(self, pixels: int = PIXELS) -> None:
        self._pixels = pixels
        self._changed = threading.Condition()
        self._used = 0
        self._asked = self._served = 0

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """Hold so many pixels of the budget."""
        wanted = min(pixels, self._pixels)
        with self._changed:
            turn, self._asked = self._asked, self._asked + 1
            self._changed.wait_for(
                lambda: turn == self._served and self._used + wanted <= self._pixels
            )
            self._served += 1
            self._used += wanted
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()
