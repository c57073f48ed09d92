"""A Ray cluster for one run: joined or started on this machine, and its cores dealt to actors."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.errors import EngineError
from foveate.runtime.segment.ray.address import LOCAL, host_and_port

CORES_PER_ACTOR = 4
"""Cores of an actor without a GPU, if there are as many; each actor holds a copy of the weights."""
CONNECT_TIMEOUT_S = 10.0
"""How long a cluster may take to answer."""
STORE_BYTES = 128 << 20
"""Object store of a local Ray: only names and lines go through it."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else Ray reports usage to its vendor
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else its C++ writes to standard error
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a changed default
}
OWN_SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # whatever the system: ports on 127.0.0.1 alone
    "RAY_worker_niceness": "0",  # else every other process of the machine goes before the actors
    "RAY_AUTH_MODE": "token",  # other users of this machine cannot join
    "http_proxy": "http://127.0.0.1:9",  # a closed port: else Ray asks which cloud this is
    "no_proxy": "127.0.0.1,localhost",
}


@dataclass(frozen=True)
class Node:
    """The resources of one machine of a cluster."""

    cores: int
    gpus: int = 0

    def holds(self, cores: int, gpu: bool) -> int:
        """Return how many actors of ``cores`` cores fit."""
        fit = self.cores // cores
        return min(fit, self.gpus) if gpu else fit


@dataclass(frozen=True)
class Allocation:
    """``actors`` processes, each with ``cores`` of one machine, and a GPU if ``gpu``."""

    actors: int
    cores: int
    gpu: bool


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """Yield the connected module ``ray``; a Ray started here always ends with the block.

    Raises EngineError when Ray is missing or its cluster cannot be reached.
    """
    _check_reachable(address)
    with _environment(address), _standard_output_discarded():
        ray = _ray()
        try:
            with _signals_restored(), _standard_error_discarded():
                _connect(ray, address)
            yield ray
        except ray.exceptions.RayError as error:
            raise EngineError(f"--ray {address}: Ray gave up: {_short(error)}") from error
        finally:
            ray.shutdown()


def nodes_of(ray: Any) -> list[Node]:
    """Return the resources of the cluster's machines, whether in use or free."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]


def allocate_actors(nodes: Sequence[Node], gpu: bool, actors: int, items: int) -> Allocation:
    """Return how many actors to start and what each gets; EngineError when none fits.

    ``actors`` is the number asked for; 0 starts one per GPU, or one per four cores of a machine.
    There are never more than the cluster can hold at once, nor more than items.
    """
    most = sum(node.holds(1, gpu) for node in nodes)
    if not most:
        raise EngineError(
            "the Ray cluster has no GPU, which this engine needs; name another --engine"
            if gpu
            else "the Ray cluster has no CPU"
        )
    usual = most if gpu else sum(-(-node.cores // CORES_PER_ACTOR) for node in nodes)
    actors = max(1, min(actors or usual, most, items))
    largest = max(node.cores for node in nodes)
    fitting = (
        cores
        for cores in range(largest, 0, -1)
        if sum(node.holds(cores, gpu) for node in nodes) >= actors
    )
    return Allocation(actors, next(fitting), gpu)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--ray needs Ray ({error}): pip install 'foveate[ray]'") from None
    for name in ("ray", "ray.data"):  # foveate reports what concerns the user
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
        said = _not_joined() if host_and_port(address) else _missing(address)
        raise EngineError(f"--ray {address}: {said} ({_short(error)})") from error
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise EngineError(f"--ray {address}: {_short(error)}") from error


def _check_reachable(address: str) -> None:
    """Raise EngineError if the port is closed: Ray itself would try for minutes."""
    try:
        if (at := host_and_port(address)) is not None:
            socket.create_connection(at, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise EngineError(f"--ray {address}: {_missing(address)} ({error})") from None


def _missing(address: str) -> str:
    where = "there" if host_and_port(address) else "on this machine"
    return f"no Ray cluster answers {where}; start one with: ray start --head"


def _not_joined() -> str:
    return (
        "something answers there but refuses the connection; check that it is a Ray cluster, that "
        "its Ray has the same version, and that RAY_AUTH_TOKEN holds its token"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def _environment(address: str) -> Iterator[None]:
    """Set the environment variables that Ray reads, and restore them afterwards."""
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
def _signals_restored() -> Iterator[None]:
    """Restore the signal handlers, some of which Ray replaces."""
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
def _standard_output_discarded() -> Iterator[None]:
    """Discard what a thread of Ray prints about actors that were lost or ended."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _standard_error_discarded() -> Iterator[None]:
    """Discard what Ray's C++ writes to standard error: the first line of its log always comes."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
