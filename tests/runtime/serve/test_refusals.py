"""Bad requests, too many of them, and slow ones: each is answered, and none stops the server."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from foveate.runtime.errors import EngineError
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.serve.responses import RESPONSES, ResponseKind
from foveate.runtime.serve.run import ServeRequest, serve_run
from foveate.runtime.serve.settings import Limits
from tests.bad.images import encoded, png_of_size
from tests.runtime.serve.served import LONGEST_S, PNG, Held, Served, served, together, wait_for

FLOATS = encoded("TIFF", Image.new("F", (30, 20)))
STACK = encoded("TIFF", save_all=True, append_images=[Image.new("L", (9, 9))])

BAD = [
    ("empty", b"", "/mask", 422, "the upload is empty (0 bytes); expected .png"),
    ("cut short", PNG[:-5], "/mask", 422, "the upload is cut short: its end is missing"),
    ("text", b"no image", "/overlay", 422, "sends a file unchanged by --data-binary"),
    ("floats", FLOATS, "/all", 422, "the upload has float32 values from 0 to 0"),
    ("two pages", STACK, "/result", 422, "its own file, or ask for ?page=N"),
    ("no such page", STACK, "/mask?page=3", 422, "the upload page 3 is not there"),
    ("a bomb", png_of_size(60000, 60000), "/mask", 413, "the upload is 60000x60000 pixels"),
    ("too many pixels", png_of_size(1001, 1000), "/mask", 413, "the limit is 1000000 in all"),
    ("too many bytes", PNG + bytes(20_000), "/mask", 413, "more than 20000 bytes"),
    ("another parameter", PNG, "/mask?pgae=2", 400, "no parameter but page=N"),
    ("a page that is no number", PNG, "/mask?page=-1", 400, "no parameter but page=N"),
    ("page 0", STACK, "/mask?page=0", 400, "page=N, a TIFF page from 1"),
    ("page 000...", STACK, "/mask?page=" + "0" * 5000, 400, "page=N, a TIFF page from 1"),
    ("a page twice", STACK, "/mask?page=1&page=2", 400, "no parameter but page=N"),
    ("objects of a mask", PNG, "/mask?objects=1", 400, "threshold=T, between 0 and 1\n"),
    ("objects that are no 1", PNG, "/all?objects=yes", 400, "between 0 and 1, or objects=1"),
    ("a threshold over 1", PNG, "/mask?threshold=1.5", 400, 'threshold is "1.5"; expected'),
    ("an unknown class", PNG, "/mask?threshold=cat=0.5", 400, 'names the class "cat"; the bundle'),
    ("a slash too many", PNG, "/mask/", 404, "no such path; expected POST or PUT to /mask"),
    ("a path out of the tree", PNG, "/../etc/passwd", 404, "no such path"),
]


@pytest.fixture(scope="module")
def there(thresholds: Path) -> Iterator[Served]:
    limits = Limits(max_bytes=20_000, max_pixels=1_000_000, upload_s=1.0, idle_s=1.2)
    with served(thresholds, limits) as found:
        yield found


@pytest.mark.parametrize("given, body, path, status, said", BAD, ids=lambda value: str(value)[:24])
def test_a_bad_upload_is_answered(
    there: Served, given: str, body: bytes, path: str, status: int, said: str
) -> None:
    reply = there.ask(path, body)
    assert reply.status == status and said in reply.text, reply
    assert reply.text.count("\n") == 1 and reply.text.endswith("\n")
    assert there.ask("/mask", PNG).status == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", "video/mp4"])
def test_a_body_that_says_it_is_no_image(there: Served, kind: str) -> None:
    reply = there.ask("/mask", PNG, Content_Type=kind)
    assert reply.status == 415 and "curl --data-binary" in reply.text


@pytest.mark.parametrize("method, path", [("GET", "/mask"), ("DELETE", "/mask"), ("POST", "/")])
def test_a_method_that_a_path_has_not(there: Served, method: str, path: str) -> None:
    reply = there.ask(path, method=method)
    assert reply.status == 405 and f"{method} is not allowed here; expected" in reply.text
    assert reply.headers["allow"]


def test_a_full_queue_is_said_and_no_request_is_lost(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    limits, plan = Limits(queue=3), Concurrency(2)
    with served(thresholds, limits, plan) as there, ThreadPoolExecutor(16) as pool:
        replies = together(pool, there, [PNG] * 12)
        wait_for(lambda: there.metric("foveate_rejected_total") == 7)
        assert there.metric("foveate_queue_depth") == 3
        assert there.metric("foveate_images_at_work") == 2
        held.release.set()
        found = [reply.result() for reply in replies]
        assert sorted(reply.status for reply in found) == [200] * 5 + [429] * 7
        assert len({reply.body for reply in found if reply.status == 200}) == 1
        for reply in found:
            if reply.status == 429:
                assert int(reply.headers["retry-after"]) >= 1
                assert reply.text == "the queue is full (3 images may wait)\n"
        assert there.metric("foveate_batch_images_sum") == 5


def test_uploads_have_no_more_memory_than_is_stated(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    limits = Limits(max_bytes=len(PNG))  # eight of them may be held
    with served(thresholds, limits, Concurrency(1)) as there, ThreadPoolExecutor(16) as pool:
        replies = together(pool, there, [PNG] * 10)
        wait_for(lambda: there.metric('foveate_rejected_total{why="memory"}') == 2)
        held.release.set()
        assert sorted(r.result().status for r in replies) == [200] * 8 + [429] * 2
        assert there.ask("/mask", PNG).status == 200


def test_who_waits_too_long_is_told(thresholds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with served(thresholds, Limits(response_s=0.2), Concurrency(1)) as there:
        with ThreadPoolExecutor(2) as pool:
            found = [reply.result() for reply in together(pool, there, [PNG] * 2)]
        assert {reply.status for reply in found} == {503}
        assert "was not segmented within 0.2 s" in found[0].text
        assert int(found[0].headers["retry-after"]) >= 1
        ready = there.ask("/health/ready")
        assert ready.status == 503 and "busy with one image for over 0.2 s" in ready.text
        held.release.set()
        wait_for(lambda: there.metric("foveate_images_at_work") == 0)
        assert there.ask("/health/ready").status == 200
        assert there.ask("/mask", PNG).status == 200


def test_the_image_of_a_client_that_leaves_is_not_segmented(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    asked = b"POST /mask HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(PNG)
    with served(thresholds, plan=Concurrency(1)) as there, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(there.ask, "/mask", PNG)
        assert held.begun.acquire(timeout=LONGEST_S)
        for _ in range(3):
            with socket.create_connection(there.address) as connection:
                connection.sendall(asked + PNG)
                wait_for(lambda: there.metric("foveate_queue_depth") == 1)
            wait_for(lambda: there.metric("foveate_queue_depth") == 0)
        held.release.set()
        assert reply.result().status == 200
        assert there.metric('foveate_requests_total{path="/mask",status="499"}') == 3
        assert there.metric("foveate_batch_images_sum") == 1


def test_what_is_in_flight_is_answered_at_the_end(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    with served(thresholds, plan=Concurrency(1)) as there, ThreadPoolExecutor(4) as pool:
        replies = together(pool, there, [PNG] * 4)
        wait_for(lambda: there.metric("foveate_queue_depth") == 3)
        ending = threading.Thread(target=there.server.close)
        ending.start()
        wait_for(lambda: refused(there))
        held.release.set()
        assert [reply.result().status for reply in replies] == [200] * 4
        ending.join(LONGEST_S)
        assert not there.server.alive


def refused(there: Served) -> bool:
    try:
        socket.create_connection(there.address, 1).close()
    except OSError:
        return True
    return False


def test_an_engine_that_fails_is_told_and_no_longer_ready(
    thresholds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> bytes:
        raise EngineError("the GPU is gone")

    monkeypatch.setitem(RESPONSES, "/mask", ResponseKind("image/png", fails))
    with served(thresholds) as there:
        assert there.ask("/mask", PNG).text == "the engine failed: the GPU is gone\n"
        reply = there.ask("/health/ready")
        assert reply.status == 503 and "the GPU is gone" in reply.text
        assert there.ask("/health/live").status == 200
    urls: list[str] = []
    request = ServeRequest(thresholds, port=0, engine="onnxruntime")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(serve_run, request, lambda at: urls.append(at.url), threading.Event())
        wait_for(lambda: bool(urls))
        asked = urllib.request.Request(f"{urls[0]}/mask", PNG)
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(asked, timeout=LONGEST_S)
        with pytest.raises(EngineError, match="the GPU is gone"):
            run.result(LONGEST_S)
