"""The HTTP paths of the server and their handlers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foveate import __version__
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import one_line
from foveate.runtime.serve.metrics import MEDIA_TYPE, Metrics
from foveate.runtime.serve.parameters import parse_parameters
from foveate.runtime.serve.request_error import RequestError
from foveate.runtime.serve.request_queue import RequestQueue
from foveate.runtime.serve.responses import RESPONSES
from foveate.runtime.serve.uploads import Uploads

CLIENT_LEFT = 499
"""The status that nginx logs for a client that left before its response; never sent."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from elsewhere and sends requests to this server only."""


@dataclass(frozen=True)
class Service:
    """The parts that the handlers use."""

    queue: RequestQueue
    uploads: Uploads
    metrics: Metrics


def app_of(service: Service) -> ASGIApp:
    """Return the application; every request is counted and timed."""
    cascade = service.queue.cascade
    engine, precision = cascade.choice.engine, cascade.choice.precision
    bundle = one_line(cascade.bundle.label)
    service.metrics.info.info(
        {"bundle": bundle, "engine": engine, "precision": precision, "version": __version__}
    )

    async def page(request: Request) -> Response:
        content = files("foveate.runtime.serve").joinpath("page.html").read_text("utf-8")
        text = content.replace("SERVED", escape(f"{bundle}, {cascade.choice.label}"))
        text = text.replace("THRESHOLD", _threshold(cascade))
        headers = {**HEADERS, "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Response(text, media_type="text/html", headers=headers)

    async def segment(request: Request) -> Response:
        kind = RESPONSES[request.url.path]
        query, has_objects = request.query_params.multi_items(), kind.with_objects is not None
        asked = parse_parameters(query, cascade, has_objects)
        make = kind.with_objects if asked.objects and kind.with_objects else kind.make
        async with service.uploads.body(request) as upload:
            work = asyncio.ensure_future(service.queue.respond(upload, asked, make))
            content = await _unless_left(request, work)
        return Response(content, media_type=kind.media_type, headers=HEADERS)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": MEDIA_TYPE})

    async def live(request: Request) -> Response:
        return _text("live", 200)

    async def ready(request: Request) -> Response:
        problem = service.queue.problem
        return _text(f"not ready: {problem}", 503) if problem else _text("ready", 200)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        service.metrics.rejected.labels(error.why).inc()
        return _refused(error)

    gets = {"/": page, "/metrics": metrics, "/health/live": live, "/health/ready": ready}
    routes = [Route(path, call, methods=["GET"]) for path, call in gets.items()]
    routes += [Route(path, segment, methods=["POST", "PUT"]) for path in RESPONSES]
    handlers = {RequestError: refused, HTTPException: _no_such, ClientDisconnect: _left}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = (
        False  # a client that does not follow redirects would take the response for a mask
    )
    return Counted(app, service.metrics)


class Counted:
    """Count the responses of an application by path and status, and time them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)


PATHS = ("/", "/metrics", "/health/live", "/health/ready", *RESPONSES)


def _threshold(cascade: Cascade) -> str:
    """Return the threshold of all masks, "" where it is not one number."""
    given = cascade.decision.as_dict()["threshold"]
    if given is None and cascade.spec.binary:
        return f"{cascade.spec.mask_threshold:g}"
    return "" if given is None or "=" in given else given


def _refused(error: RequestError) -> Response:
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    if error.status in (408, 413):  # part of the upload may be unread
        headers["Connection"] = "close"
    return _text(str(error), error.status, headers)


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    expected = f"POST or PUT to {', '.join(RESPONSES)}; GET {', '.join(PATHS[:4])}"
    said = (
        "no such path" if error.status_code == 404 else f"{request.method[:20]} is not allowed here"
    )
    return _text(f"{said}; expected {expected}", error.status_code, dict(error.headers or {}))


async def _unless_left(request: Request, work: asyncio.Task[bytes]) -> bytes:
    """Return what work gives; cancel it once the client has left, and raise ClientDisconnect."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        work.cancel()

    leaving = asyncio.ensure_future(left())
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done():
            raise ClientDisconnect from None
        raise
    finally:
        leaving.cancel()


async def _left(request: Request, error: Exception) -> Response:
    return _text("the client left", CLIENT_LEFT)


def _text(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(one_line(text) + "\n", status, {**HEADERS, **(headers or {})})
