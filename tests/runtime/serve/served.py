"""A server in this process, and requests to it."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from foveate.runtime.arrays import Pixels
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.result import Result
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.serve.app import Service, app_of
from foveate.runtime.serve.metrics import Metrics
from foveate.runtime.serve.request_queue import RequestQueue
from foveate.runtime.serve.responses import RESPONSES, ResponseKind, mask_png
from foveate.runtime.serve.server import Server
from foveate.runtime.serve.settings import Limits
from foveate.runtime.serve.uploads import Uploads
from tests.soak.folders import spot

LONGEST_S = 20.0
PNG = cv2.imencode(".png", spot(64, np.random.default_rng(1)))[1].tobytes()


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Served:
    """A server that runs, with the parts a test looks at."""

    server: Server
    queue: RequestQueue

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.server.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    def ask(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Reply:
        """Return the answer to one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=LONGEST_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), {k.lower(): v for k, v in reply.getheaders()})
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = self.ask("/metrics").text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


@contextmanager
def served(
    bundle: Path,
    limits: Limits | None = None,
    plan: Concurrency | None = None,
    window: str = "",
    decide: Decision = Decision(),  # noqa: B008  # frozen
) -> Iterator[Served]:
    """Serve a bundle on a free port."""
    limits, metrics = limits or Limits(), Metrics()
    with Cascade.load(bundle, "onnxruntime", threads=1, decide=decide) as cascade:
        with RequestQueue(cascade, plan or Concurrency(2), limits, metrics, window) as queue:
            app = app_of(Service(queue, Uploads(limits), metrics))
            with Server(app, "127.0.0.1", 0, limits) as server:
                yield Served(server, queue)


class Held:
    """Images at /mask stay at work until ``release`` is set; ``begun`` counts them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.release, self.begun = threading.Event(), threading.Semaphore(0)
        patch.setitem(RESPONSES, "/mask", ResponseKind("image/png", self._make))

    def _make(self, image: Pixels, result: Result, bundle: Bundle) -> bytes:
        self.begun.release()
        assert self.release.wait(LONGEST_S)
        return mask_png(image, result, bundle)


def together(pool: ThreadPoolExecutor, there: Served, images: list[bytes]) -> list[Future[Reply]]:
    """Return what will come of as many requests at one time."""
    return [pool.submit(there.ask, "/mask", image) for image in images]


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
