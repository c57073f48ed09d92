"""A Ray cluster for one run: joined, or started on this machine, and left again."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from foveate.runtime.engines.base import available_cores
from foveate.runtime.errors import EngineError
from foveate.runtime.segment.ray.address import LOCAL, place
from foveate.runtime.segment.ray.share import Node

REACHED_S = 10.0
"""How long a cluster may take to answer."""
STORE_BYTES = 128 << 20
"""Of a Ray of our own: only names and lines go through its store."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else Ray reports to its makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else its C++ writes to standard error
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns that this will be so
}
OWN_SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # whatever the system: ports on 127.0.0.1 alone
    "RAY_worker_niceness": "0",  # else every other process of the machine goes before the actors
    "RAY_AUTH_MODE": "token",  # other users of this machine cannot join
    "http_proxy": "http://127.0.0.1:9",  # nobody: else Ray asks which cloud this is
    "no_proxy": "127.0.0.1,localhost",
}


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """Give the module ``ray``, connected; a Ray of our own ends with the block, whatever is raised.

    EngineError when Ray is missing or its cluster cannot be reached.
    """
    _check_reachable(address)
    with _environment(address), _standard_output_closed():
        ray = _ray()
        try:
            with _signals_kept(), _standard_error_closed():
                _connect(ray, address)
            yield ray
        except ray.exceptions.RayError as error:
            raise EngineError(f"--ray {address}: Ray gave up: {_short(error)}") from error
        finally:
            ray.shutdown()


def nodes_of(ray: Any) -> list[Node]:
    """Return what the machines of the cluster have, whoever uses it now."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--ray needs Ray ({error}): pip install 'foveate[ray]'") from None
    for name in ("ray", "ray.data"):  # what concerns the user, we say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _connect(ray: Any, address: str) -> None:
    own = {
        "num_cpus": available_cores(),
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
    }
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **(own if address == LOCAL else {}),
        )
    except ConnectionError as error:
        said = _not_joined() if place(address) else _missing(address)
        raise EngineError(f"--ray {address}: {said} ({_short(error)})") from error
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise EngineError(f"--ray {address}: {_short(error)}") from error


def _check_reachable(address: str) -> None:
    """Raise EngineError where nobody listens: Ray itself would try for minutes."""
    try:
        if (at := place(address)) is not None:
            socket.create_connection(at, REACHED_S).close()
    except OSError as error:
        raise EngineError(f"--ray {address}: {_missing(address)} ({error})") from None


def _missing(address: str) -> str:
    where = "there" if place(address) else "on this machine"
    return f"no Ray cluster answers {where}; start one with: ray start --head"


def _not_joined() -> str:
    return (
        "something answers there, but lets nobody in; is it a Ray cluster, is its Ray the same "
        "version, and has RAY_AUTH_TOKEN its token"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def _environment(address: str) -> Iterator[None]:
    """Set what Ray reads from the environment, and put back what was there."""
    own = {**OWN_SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    settings = SETTINGS | (own if address == LOCAL else {})
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers of signals, some of which Ray takes for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _standard_output_closed() -> Iterator[None]:
    """Send to nowhere what a thread of Ray prints of actors that are lost or ended."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Send to nowhere what C++ writes to standard error; its log's first line comes always."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
