"""Refuse requests before they reach the application."""

from __future__ import annotations

import ipaddress
import socket

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from foveate.runtime.errors import one_line

HEALTH = "/health/"
BOTH_LENGTHS = {b"transfer-encoding", b"content-length"}


class Admission:
    """Refuse a body with two lengths and, at a loopback address, a foreign Host.

    A web page whose name resolves to 127.0.0.1 (DNS rebinding) sends its own name, so it can
    neither read responses nor send images.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        self._app = app
        address = listening.getsockname()[0]
        local = ipaddress.ip_address(address).is_loopback
        self._hosts = {"127.0.0.1", "localhost", "[::1]", address} if local else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        response: ASGIApp = self._app
        if headers.keys() >= BOTH_LENGTHS:  # a proxy in front may have read a different body
            response = _final_response(
                400, "both Transfer-Encoding and Content-Length; expected one"
            )
        elif self._hosts is not None and host and _name(host) not in self._hosts:
            text = f"Host is {host[:100]}; expected 127.0.0.1, localhost or [::1] at this address"
            response = _final_response(421, text)
        await response(scope, receive, send)


class HealthOnly:
    """Answer /health only: for connections reserved for it when all others are taken."""

    def __init__(self, app: ASGIApp, connections: int) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: ASGIApp = self._app
        if not scope["path"].startswith(HEALTH):
            response = _final_response(
                503, f"all {self._connections} connections are taken; try again"
            )
        await response(scope, receive, send)


def _name(host: str) -> str:
    """Return a Host without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _final_response(status: int, text: str) -> PlainTextResponse:
    """Return a response that closes its connection; the rest of the request is not read."""
    return PlainTextResponse(one_line(text) + "\n", status, {"Connection": "close"})
