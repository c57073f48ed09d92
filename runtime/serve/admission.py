"""Which requests reach the application: what is refused here is no question to the service."""

from __future__ import annotations

import ipaddress
import socket

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from foveate.runtime.errors import one_line

HEALTH = "/health/"
BOTH_LENGTHS = {b"transfer-encoding", b"content-length"}


class Admission:
    """Refuses a body of two lengths and, at a loopback address, the name of another host.

    A page of the web whose name is made to lead to 127.0.0.1 (DNS rebinding) sends its own name:
    so it can neither read answers nor send images.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        self._app = app
        address = listening.getsockname()[0]
        local = ipaddress.ip_address(address).is_loopback
        self._hosts = {"127.0.0.1", "localhost", "[::1]", address} if local else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        answer: ASGIApp = self._app
        if headers.keys() >= BOTH_LENGTHS:  # a proxy before us may have read another body
            answer = _last_word(400, "both Transfer-Encoding and Content-Length; expected one")
        elif self._hosts is not None and host and _name(host) not in self._hosts:
            text = f"Host is {host[:100]}; expected 127.0.0.1, localhost or [::1] at this address"
            answer = _last_word(421, text)
        await answer(scope, receive, send)


class HealthOnly:
    """Answers health alone: for the connections that are kept for it when all others are taken."""

    def __init__(self, app: ASGIApp, connections: int) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if not scope["path"].startswith(HEALTH):
            answer = _last_word(503, f"all {self._connections} connections are taken; try again")
        await answer(scope, receive, send)


def _name(host: str) -> str:
    """Return a Host without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _last_word(status: int, text: str) -> PlainTextResponse:
    """Return an answer that ends its connection: what else was sent on it is not read."""
    return PlainTextResponse(one_line(text) + "\n", status, {"Connection": "close"})
