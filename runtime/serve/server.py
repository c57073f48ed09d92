"""Run an HTTP server on its own thread: listening once created, drained by ``close``."""

from __future__ import annotations

import socket
import sys
import threading
import time
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp

from foveate.runtime.closeable import Closeable
from foveate.runtime.errors import SettingsError
from foveate.runtime.serve.admission import Admission
from foveate.runtime.serve.connections import bounded
from foveate.runtime.serve.settings import Limits

WAKE_S = 0.05
BACKLOG, AT_ONCE = 4096, 32
"""Connections that the system queues until they are accepted, and that are accepted at once."""
OTHER_FILES = 192
"""Files open besides connections: libraries, a bundle, connections accepted only to be closed."""


class Server(Closeable):
    """Serve an application at ``host`` and ``port`` (0: any free port); ``url`` is the address.

    Only errors are logged, to standard error. Raises SettingsError if it cannot listen.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, limits: Limits) -> None:
        listening = _listening(host, port)
        self.url = _url(listening)
        spare = limits.health_connections
        places = max(1, available_connections(limits.connections + spare) - spare)
        config = uvicorn.Config(
            Admission(app, listening),
            http=bounded(replace(limits, connections=places)),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # warnings report what single clients do, a line each
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=AT_ONCE,
            timeout_graceful_shutdown=round(limits.request_s),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="foveate-http", daemon=True
        )
        self._thread.start()
        while not self._server.started and self.alive:
            time.sleep(WAKE_S)
        listening.listen(BACKLOG)  # uvicorn has set it to AT_ONCE

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Accept no more connections, answer the requests in flight, and stop."""
        self._server.should_exit = True
        self._thread.join()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise SettingsError(
            f"--host {host} --port {port}: cannot listen there: {reason}; expected an address "
            "of this machine and a free port (0: any)"
        ) from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def available_connections(connections: int) -> int:
    """Return how many connections can be open, at most ``connections``.

    Raises the soft limit of open files as far as needed and as the hard limit allows.
    """
    if sys.platform == "win32":  # has no such limit
        return connections
    import resource

    needed = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - OTHER_FILES)
