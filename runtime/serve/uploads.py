"""Read the body of a request within limits of size, time and memory.

A body is read to its end before it is refused for lack of memory: many clients lose the response of
a server that answers early and closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from foveate.runtime.serve.request_error import RequestError
from foveate.runtime.serve.settings import Limits

ACCEPTED = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Accepted media types besides image/*: none, any file, and what curl --data-binary sends."""


class Uploads:
    """Read request bodies. ``held``: bytes of all bodies in flight; call from one thread only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request, counted as held meanwhile; RequestError if it is refused."""
        _check_type(request)
        held = _HeldBytes(self)
        try:
            reading = self._read(request, held)
            try:
                data = await asyncio.wait_for(reading, self._limits.upload_s)
            except (TimeoutError, asyncio.TimeoutError):
                raise RequestError(
                    408, "slow", f"the upload took longer than {self._limits.upload_s:g} s"
                ) from None
            yield data
        finally:
            held.release()

    async def _read(self, request: Request, held: _HeldBytes) -> bytes:
        limits, parts, size, full = self._limits, list[bytes](), 0, False
        if _declared(request) > limits.max_bytes and "expect" in request.headers:
            raise _too_large(limits)  # the client waits for 100 Continue and has sent nothing
        async for part in request.stream():
            size += len(part)
            full = full or self.held + len(part) > limits.held_bytes
            if size > 2 * limits.max_bytes:
                break
            if size > limits.max_bytes or full:
                parts.clear()  # the rest is read and discarded
                held.release()
            else:
                held.add(len(part))
                parts.append(part)
        if size > limits.max_bytes:
            raise _too_large(limits)
        if full:
            limit = limits.held_bytes
            raise RequestError(429, "memory", f"the uploads in flight fill their {limit} bytes", 1)
        return b"".join(parts)


class _HeldBytes:
    """The bytes that one request holds."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads, self._bytes = uploads, 0

    def add(self, size: int) -> None:
        self._bytes += size
        self._uploads.held += size

    def release(self) -> None:
        self._uploads.held -= self._bytes
        self._bytes = 0


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, "too_large", f"the upload has more than {limits.max_bytes} bytes")


def _declared(request: Request) -> int:
    """Return the Content-Length of a request, 0 without one."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _check_type(request: Request) -> None:
    """Raise RequestError for a body whose media type is not an image."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ACCEPTED or kind.startswith("image/"):
        return
    raise RequestError(
        415,
        "media_type",
        f"the body is {kind[:60]!r}; expected the image itself: curl --data-binary @scan.png URL",
    )
