"""The image in a request: its body, read whole within bounds of size, time and memory.

A body is read to its end before anything is refused for want of room: a server that answers early
and closes makes many clients lose the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from foveate.runtime.serve.refusal import Refusal
from foveate.runtime.serve.settings import Limits

TAKEN = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Media types of a body beside image/*: none, any file, and what curl calls --data-binary."""


class Uploads:
    """Reads bodies. ``held`` are the bytes of all that are in hand; one thread calls."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body of a request, and count it as held meanwhile; Refusal says why not."""
        _check_type(request)
        before = _Taken(self)
        try:
            reading = self._read(request, before)
            try:
                data = await asyncio.wait_for(reading, self._limits.upload_s)
            except (TimeoutError, asyncio.TimeoutError):
                raise Refusal(
                    408, "slow", f"the upload took longer than {self._limits.upload_s:g} s"
                ) from None
            yield data
        finally:
            before.give_back()

    async def _read(self, request: Request, taken: _Taken) -> bytes:
        limits, parts, size, full = self._limits, list[bytes](), 0, False
        if _declared(request) > limits.max_bytes and "expect" in request.headers:
            raise _too_large(limits)  # the client waits for our word and has sent nothing
        async for part in request.stream():
            size += len(part)
            full = full or self.held + len(part) > limits.held_bytes
            if size > 2 * limits.max_bytes:
                break
            if size > limits.max_bytes or full:
                parts.clear()  # the rest is read and forgotten
                taken.give_back()
            else:
                taken.add(len(part))
                parts.append(part)
        if size > limits.max_bytes:
            raise _too_large(limits)
        if full:
            held = limits.held_bytes
            raise Refusal(429, "memory", f"uploads fill the {held} bytes kept for them", 1)
        return b"".join(parts)


class _Taken:
    """The share of one request in what is held."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads, self._bytes = uploads, 0

    def add(self, size: int) -> None:
        self._bytes += size
        self._uploads.held += size

    def give_back(self) -> None:
        self._uploads.held -= self._bytes
        self._bytes = 0


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, "too_large", f"the upload has more than {limits.max_bytes} bytes")


def _declared(request: Request) -> int:
    """Return the length that a request announces, 0 where it does not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _check_type(request: Request) -> None:
    """Raise Refusal for a body that says it is no image."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in TAKEN or kind.startswith("image/"):
        return
    raise Refusal(
        415,
        "media_type",
        f"the body is {kind[:60]!r}; wanted the image itself: curl --data-binary @scan.png URL",
    )
