"""A server on a thread of its own: listening when it is made, drained when it is closed."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp

from foveate.runtime.closing import Closing
from foveate.runtime.errors import SettingsError
from foveate.runtime.serve.admission import Admission
from foveate.runtime.serve.connections import bounded
from foveate.runtime.serve.open_files import room_for
from foveate.runtime.serve.settings import Limits

WAKE_S = 0.05
BACKLOG = 128
"""Connections that the system holds until they are taken, and that are taken at one go."""


class Server(Closing):
    """Serves an application at ``host`` and ``port`` (0: any that is free); ``url`` says where.

    Nothing is logged but what goes wrong, to standard error. Raises SettingsError where it cannot
    listen.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, limits: Limits) -> None:
        listening = _listening(host, port)
        self.url = _url(listening)
        spare = limits.health_connections
        places = max(1, room_for(limits.connections + spare) - spare)
        config = uvicorn.Config(
            Admission(app, listening),
            http=bounded(replace(limits, connections=places)),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # warnings are of what single clients do, a line for each
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=round(limits.request_s),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="foveate-http", daemon=True
        )
        self._thread.start()
        while not self._server.started and self.alive:
            time.sleep(WAKE_S)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more connections, answer the requests in hand, and end."""
        self._server.should_exit = True
        self._thread.join()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise SettingsError(
            f"--host {host} --port {port}: cannot listen there: {reason}; wanted an address of "
            "this machine and a port that is free (0 takes any)"
        ) from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
