"""The cascade that takes what another one cannot, loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from foveate.runtime.closing import Closing
from foveate.runtime.engines.tensorrt.slot import CLOSED
from foveate.runtime.errors import EngineError

if TYPE_CHECKING:
    from foveate.runtime.cascade.cascade import Cascade


class Spare(Closing):
    """Loads a cascade once, whichever thread asks first. Safe from several threads."""

    def __init__(self, load: Callable[[], Cascade]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loaded: Cascade | None = None
        self._closed = False

    def cascade(self) -> Cascade:
        """Return it; EngineError once closed."""
        with self._lock:
            if self._closed:
                raise EngineError(CLOSED)
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def close(self) -> None:
        """Close it, if it was ever needed."""
        with self._lock:
            self._closed = True
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()
