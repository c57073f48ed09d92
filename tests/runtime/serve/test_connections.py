"""Connections: too many, slow, in crumbs, under another name; none of them stops the server."""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from foveate.runtime.serve.admission import Admission
from foveate.runtime.serve.settings import Limits
from tests.runtime.serve.served import LONGEST_S, PNG, Served, served, wait_for

ASKED = b"POST /mask HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def there(thresholds: Path) -> Iterator[Served]:
    with served(thresholds, Limits(max_bytes=20_000, upload_s=1.0, idle_s=1.2)) as found:
        yield found


def exchange(there: Served, data: bytes) -> bytes:
    """Send bytes and nothing more; return what comes back until the server ends it."""
    with socket.create_connection(there.address, LONGEST_S) as connection:
        connection.sendall(data)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def test_slow_clients_are_ended(thresholds: Path) -> None:
    with served(thresholds, Limits(upload_s=0.2, idle_s=0.2)) as there:
        assert exchange(there, b"") == b""  # no headers at all
        assert exchange(there, ASKED) == b""  # some of them
        late = exchange(there, ASKED + b"Content-Length: 5000\r\n\r\nabc")
        assert late.startswith(b"HTTP/1.1 408") and b"took longer than 0.2 s" in late
        assert there.metric('foveate_rejected_total{why="slow"}') == 1


def test_no_http_and_a_body_too_large_are_answered_at_once(there: Served) -> None:
    assert exchange(there, b"no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    waits = exchange(there, ASKED + b"Content-Length: 30000\r\nExpect: 100-continue\r\n\r\n")
    assert waits.startswith(b"HTTP/1.1 413")  # and not one byte of it was sent


def test_more_connections_than_are_taken(thresholds: Path) -> None:
    limits = Limits(connections=4, health_connections=2, health_s=0.5)
    with served(thresholds, limits) as there:
        held = [socket.create_connection(there.address) for _ in range(4)]
        for connection in held:
            connection.sendall(ASKED + b"Content-Length: 50\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
        assert there.ask("/mask", PNG).text == "all 4 connections are taken; try again\n"
        assert there.ask("/health/live").status == 200
        for connection in held:
            connection.close()
        wait_for(lambda: there.ask("/mask", PNG).status == 200)


def test_idle_connections_give_way_to_new_ones(thresholds: Path) -> None:
    with served(thresholds, Limits(connections=4, health_connections=0)) as there:
        used = http.client.HTTPConnection(*there.address, timeout=LONGEST_S)
        used.request("GET", "/health/live")
        assert used.getresponse().read() == b"live\n"
        idle = [socket.create_connection(there.address) for _ in range(30)]
        idle[-1].sendall(ASKED)  # headers that do not end
        assert there.ask("/mask", PNG).status == 200
        assert [connection.recv(1) for connection in idle[:-3]] == 27 * [b""]
        used.close()
        for connection in idle:
            connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize(
    "soft, hard, connections, soft_then",
    [(300, 4000, 528, 720), (300, 400, 208, 400), (1024, 1024, 528, 1024)],
)
def test_no_more_connections_than_files(
    soft: int, hard: int, connections: int, soft_then: int
) -> None:
    program = (
        "import resource as r; from foveate.runtime.serve.server import available_connections\n"
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "print(available_connections(528), r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == f"{connections} {soft_then}\n", said.stderr


def test_a_body_of_two_lengths_ends_the_connection(there: Served) -> None:
    lengths = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    found = exchange(there, ASKED + lengths + ASKED.replace(b"POST /mask", b"GET /") + b"\r\n")
    assert found.startswith(b"HTTP/1.1 400") and found.count(b"HTTP/1.1") == 1
    assert found.endswith(b"both Transfer-Encoding and Content-Length; expected one\n")


def in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def test_a_body_in_crumbs(there: Served) -> None:
    asked = ASKED + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(there, asked + in_chunks(PNG, 7)).startswith(b"HTTP/1.1 200")
    assert exchange(there, asked + in_chunks(bytes(3000), 1)).startswith(b"HTTP/1.1 400")
    assert exchange(there, asked + in_chunks(bytes(18_000), 2000)).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"PATCH"])
@pytest.mark.parametrize("path", [b"/mask", b"/", b"/none"])
def test_a_body_that_breaks_off_in_nonsense_is_no_traceback(
    there: Served, method: bytes, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    asked = b"%s %s HTTP/1.1\r\n%s" % (method, path, headers)
    assert exchange(there, asked + b"3\r\nabcnonsense").count(b"HTTP/1.1") == 1
    assert there.ask("/health/live").status == 200
    assert caplog.text == ""


@pytest.mark.parametrize(
    "host, status",
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("LocalHost:1", 200),
        ("[::1]:8000", 200),
        ("127.0.0.1", 200),
    ],
)
def test_this_machine_is_called_by_its_own_names(there: Served, host: str, status: int) -> None:
    """A page whose name leads to 127.0.0.1 gets neither figures nor masks."""
    for path, body in (("/metrics", None), ("/mask", PNG)):
        reply = there.ask(path, body, Host=host)
        assert reply.status == status, reply
        assert status == 200 or reply.text.startswith(f"Host is {host}; expected 127.0.0.1")


def test_elsewhere_any_name_is_taken() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def nothing(*message: object) -> None:
        raise AssertionError

    reached: list[str] = []
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))  # and never listens
        scope = {"type": "http", "path": "/", "headers": [(b"host", b"masks.example")]}
        asyncio.run(Admission(app, bound)(scope, nothing, nothing))
    assert reached == ["/"]


def test_answers_that_are_not_fetched_end_the_connection(thresholds: Path) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500

    def ended(connection: socket.socket) -> bool:
        try:
            connection.sendall(asked)
        except TimeoutError:
            return False  # it takes no more of us, and is there
        except ConnectionError:
            return True
        return False

    limits = Limits(upload_s=0.5, response_s=0.5, idle_s=0.5)
    with served(thresholds, limits) as there, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.1)
        connection.connect(there.address)
        wait_for(lambda: ended(connection))
        assert there.ask("/health/live").status == 200
