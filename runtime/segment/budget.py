"""How much may be in hand at one time, pixels or bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """Lets threads go on while what all of them hold fits; what is over the budget goes alone.

    In the order of asking, so that a large one is not passed by small ones for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._used = 0
        self._asked = self._served = 0

    @contextmanager
    def room(self, amount: int) -> Iterator[None]:
        """Hold so much of the budget."""
        wanted = min(amount, self._most)
        with self._changed:
            turn, self._asked = self._asked, self._asked + 1
            self._changed.wait_for(
                lambda: turn == self._served and self._used + wanted <= self._most
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
