"""How a choice after training reports, and when it has to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foveate.runtime.spec import CascadeSpec

Chosen = tuple[CascadeSpec, list[dict[str, Any]]]
"""What a cascade is after a choice, and the table that the choice was made from."""
LEAST = 8
"""Images that are looked at however short the time is."""


@dataclass(frozen=True)
class Choosing:
    """``until`` is when the time is up, by ``time.monotonic``."""

    log: Callable[[str], None] = lambda text: None
    progress: Callable[[str, int, int], None] = lambda text, done, total: None
    until: float = math.inf

    def show(self, done: int, total: int) -> None:
        """Show how far the choice is."""
        self.progress("choosing", done, total)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until

    def ends_after(self, images: int) -> bool:
        """Return whether the time is up and so many images are enough."""
        return images >= LEAST and self.is_over
