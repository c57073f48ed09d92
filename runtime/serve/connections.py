"""Connections that cannot be held open idle, nor keep the server busy with tiny chunks."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from foveate.runtime.serve.admission import HealthOnly
from foveate.runtime.serve.settings import Limits


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 with a time limit for every state and a limit on connections.

    Missing or slow headers and unfetched responses end a connection after ``idle_s``; a request in
    flight has ``request_s``. Beyond the limit a new connection takes the place of the one that has
    been without a request for longest; ``idle`` holds those of a server, longest first. uvicorn
    itself limits only the time between two requests, and beyond a number refuses requests, not
    connections.
    """

    def __init__(
        self,
        *arguments: Any,
        limits: Limits,
        idle: dict[BoundedConnection, None],
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.conn = BoundedParts(h11.SERVER)
        self._limits, self._idle = limits, idle
        self._idle_s = limits.idle_s
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        beyond = len(self.connections) - self._limits.connections
        if beyond > 0 and (longest := self._longest_idle) is not None:
            longest._abort()
            beyond = 0
        if beyond > self._limits.health_connections:
            self.loop.call_soon(transport.abort)  # once the event loop has registered it
            return
        if beyond > 0:
            self.app = HealthOnly(self.app, self._limits.connections)
            self._idle_s = min(self._idle_s, self._limits.health_s)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._allow(self._limits.request_s)

    def on_response_complete(self) -> None:
        before = self.cycle
        super().on_response_complete()  # may take up the next request of the connection
        if self.cycle is before:
            self._await_request()
        else:
            self._allow(self._limits.request_s)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:  # a request in flight gets no second response
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # already answered, or a HEAD request
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _longest_idle(self) -> BoundedConnection | None:
        """The connection that may be ended for a new one; a response being fetched keeps its."""
        waiting = (one for one in self._idle if not one.transport.get_write_buffer_size())
        return next(waiting, None)

    def _await_request(self) -> None:
        self._allow(self._idle_s)
        if not self.transport.is_closing():
            self._idle[self] = None

    def _allow(self, seconds: float) -> None:
        self._stop_timer()
        self._end = self.loop.call_later(seconds, self._abort)

    def _stop_timer(self) -> None:
        self._idle.pop(self, None)
        if self._end is not None:
            self._end.cancel()

    def _abort(self) -> None:
        self._stop_timer()
        self.transport.abort()


class BoundedParts(h11.Connection):
    """The parser of a connection; refuses a body in tiny chunks.

    Each chunk costs the event loop, and so every other client, as much as a large one.
    """

    FREE, BYTES = 1000, 128
    """Chunks that a body may have, plus one per this many bytes."""

    def __init__(self, role: type[h11.SERVER]) -> None:
        super().__init__(role)
        self._left = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._left = self.FREE * self.BYTES
        elif isinstance(event, h11.Data):
            self._left += len(event.data) - (self.BYTES if event.chunk_start else 0)
            if self._left < 0:
                raise h11.RemoteProtocolError("the body is in chunks of a few bytes")
        return event


def bounded(limits: Limits) -> Any:
    """Return the factory of connections with these limits for uvicorn."""
    return partial(BoundedConnection, limits=limits, idle={})
