"""Connections that cannot be held open by doing nothing."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from foveate.runtime.serve.limits import Limits


class BoundedConnection(H11Protocol):
    """HTTP/1.1 of uvicorn, with an end to every state of a connection.

    Headers that do not come, or come byte by byte, and answers that are not fetched end it after
    ``idle_s``; a request in hand has ``request_s``. uvicorn itself limits only the time between
    two requests.
    """

    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._allow(self._limits.idle_s)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._allow(self._limits.request_s)

    def on_response_complete(self) -> None:
        before = self.cycle
        super().on_response_complete()  # may take up the next request of the connection
        self._allow(self._limits.idle_s if self.cycle is before else self._limits.request_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _allow(self, seconds: float) -> None:
        self._stop_timer()
        self._end = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._end is not None:
            self._end.cancel()


def bounded(limits: Limits) -> Any:
    """Return what makes a connection with these limits, as uvicorn calls it."""
    return partial(BoundedConnection, limits=limits)
