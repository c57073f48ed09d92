"""Clients that mean a server harm, each kind with the outcomes that it may have."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import numpy as np

from tests.bad.images import png_of, png_of_size
from tests.bad.volumes import nifti_of
from tests.soak import FULL

ASKED = b"POST /mask HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = ASKED + b"Transfer-Encoding: chunked\r\n\r\n"
TICK_S = 1.0
"""A slow client sends a little so often."""
NO_ANSWER, REFUSED = "closed", "refused"
BOMB_BYTES = 1 << 30 if FULL else 1 << 24
"""What a bomb inflates to."""
FLOOD = 10_000 if FULL else 700


@dataclass(frozen=True)
class Attack:
    """A kind of hostile client; ``clients`` of them at a time, each again after ``pause_s``.

    ``act`` returns what became of one: the status of the answer, or that there was none.
    """

    act: Callable[[StreamReader, StreamWriter], Awaitable[str]]
    allowed: frozenset[str]
    clients: int = 8
    pause_s: float = 0.1


async def assail(attack: Attack, url: str, seconds: float) -> Counter[str]:
    """Return what became of the clients of an attack that lasts so long."""
    outcomes: Counter[str] = Counter()
    address = urlsplit(url)

    async def client() -> None:
        while True:
            outcomes[await _once(attack, address)] += 1
            await asyncio.sleep(attack.pause_s)

    clients = [asyncio.create_task(client()) for _ in range(attack.clients)]
    done, running = await asyncio.wait(clients, timeout=seconds)
    for task in running:
        task.cancel()
    await asyncio.wait(clients)
    for task in done:
        task.result()
    return outcomes


async def _once(attack: Attack, address: SplitResult) -> str:
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return REFUSED
    try:
        return await attack.act(reader, writer)
    except OSError:
        return NO_ANSWER
    finally:
        writer.transport.abort()


async def _answer(reader: StreamReader) -> str:
    """Return the status of the next response."""
    line = await reader.readline()
    return line[9:12].decode() if line.startswith(b"HTTP/1.1 ") else NO_ANSWER


def _sends(data: bytes) -> Callable[[StreamReader, StreamWriter], Awaitable[str]]:
    async def act(reader: StreamReader, writer: StreamWriter) -> str:
        writer.write(data)
        return await _answer(reader)

    return act


def _trickles(start: bytes, more: bytes) -> Callable[[StreamReader, StreamWriter], Awaitable[str]]:
    async def act(reader: StreamReader, writer: StreamWriter) -> str:
        writer.write(start)
        while True:
            try:
                return await asyncio.wait_for(_answer(reader), TICK_S)
            except (TimeoutError, asyncio.TimeoutError):
                writer.write(more)

    return act


async def _never_ends(reader: StreamReader, writer: StreamWriter) -> str:
    writer.write(CHUNKED)
    answer = asyncio.ensure_future(_answer(reader))
    try:
        while not answer.done():
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
        return await answer
    finally:
        answer.cancel()


async def _never_reads(reader: StreamReader, writer: StreamWriter) -> str:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while True:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        await writer.drain()


async def _resets(reader: StreamReader, writer: StreamWriter) -> str:
    writer.write(_posted(IMAGE))
    await writer.drain()
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return NO_ANSWER


def _posted(body: bytes) -> bytes:
    return ASKED + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


IMAGE = png_of((64, 64), zlib.compress(bytes(64 * 65)))
DEFLATED = png_of((64, 64), zlib.compress(bytes(BOMB_BYTES)))
GZIPPED = gzip.compress(nifti_of((32, 32, 1), 512, bytes(BOMB_BYTES)), 1)
CLOSED, REFUSES = frozenset({NO_ANSWER}), frozenset({"400", NO_ANSWER})
BUSY = frozenset({"429"})
ATTACKS = {
    "silence": Attack(_sends(b""), CLOSED, 64),
    "slow headers": Attack(_trickles(ASKED, b"X: y\r\n"), CLOSED, 64),
    "slow body": Attack(
        _trickles(ASKED + b"Content-Length: 5000\r\n\r\n", b"x"), frozenset({"408"}), 64
    ),
    "answers not fetched": Attack(_never_reads, CLOSED),
    "a body in crumbs": Attack(_sends(CHUNKED + b"1\r\nx\r\n" * 5000), REFUSES),
    "no HTTP": Attack(_sends(np.random.default_rng(1).bytes(2000) + b"\r\n\r\n"), REFUSES),
    "headers of 1 MB": Attack(_sends(ASKED + b"X: " + b"y" * (1 << 20)), REFUSES),
    "a body without end": Attack(_never_ends, frozenset({"413", NO_ANSWER}), 4),
    "a PNG of 60,000 x 60,000": Attack(
        _sends(_posted(png_of_size(60_000, 60_000))), BUSY | {"413"}
    ),
    "a PNG that inflates": Attack(_sends(_posted(DEFLATED)), BUSY | {"200", "422"}, 4, 1.0),
    "a gzip that inflates": Attack(_sends(_posted(GZIPPED)), BUSY | {"422"}, 4, 1.0),
    "clients that leave": Attack(_resets, CLOSED),
    "connections": Attack(_sends(b""), CLOSED | {REFUSED}, FLOOD, 10.0),
}
"""By name. A PNG that inflates behind its last row has a mask, unless it goes on for long."""
