"""A session that is opened when it is first needed, for images that another one cannot take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from foveate.runtime.closeable import CLOSED, Closeable
from foveate.runtime.errors import EngineError

Session = TypeVar("Session", bound=Closeable)


class Fallback(Closeable, Generic[Session]):
    """Open a session once, whichever thread asks first. Safe from several threads."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open = open_session
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._closed = False

    def session(self) -> Session:
        """Return the session; EngineError once closed."""
        with self._lock:
            if self._closed:
                raise EngineError(CLOSED)
            if self._session is None:
                self._session = self._open()
            return self._session

    def close(self) -> None:
        """Close the session if it was opened."""
        with self._lock:
            self._closed = True
            opened, self._session = self._session, None
        if opened is not None:
            opened.close()
