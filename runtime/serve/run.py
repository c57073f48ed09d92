"""One run of ``foveate serve``: a bundle becomes a service until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from foveate.runtime.auto.choose import AUTO, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing import idle_timer
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.signing import keys_in
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import available_cores
from foveate.runtime.engines.load_settings import LoadSettings
from foveate.runtime.errors import EngineError
from foveate.runtime.segment.concurrency import FEW, Wish, WorkPlan, engine_threads, plan_for
from foveate.runtime.serve.ending import ends_within
from foveate.runtime.serve.settings import Limits

WAKE_S = 0.2
GRACE_S = 5.0


@dataclass(frozen=True)
class ServeRequest:
    """What a user asks for: the options of ``foveate serve``."""

    bundle: Path
    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = Limits()
    engine: str = AUTO
    precision: str = AUTO
    workers: int = 0
    batch: int = 1
    threads: int = 0
    gpu: int = 0
    trust: Sequence[Path] = ()


@dataclass(frozen=True)
class Listening:
    """Where a server answers, and with what."""

    url: str
    engine: str
    plan: WorkPlan


def serve_run(
    request: ServeRequest, listening: Callable[[Listening], object], stop: threading.Event
) -> None:
    """Serve until ``stop``; ``listening`` is told once requests are taken.

    At the end the requests in hand are answered; where what is at work does not end ``GRACE_S``
    after that, the process does. Raises FoveateError for what the user can mend,
    EngineError among it when the engine fails in between.
    """
    try:
        from foveate.runtime.serve.app import Service, app_of
        from foveate.runtime.serve.metrics import Metrics
        from foveate.runtime.serve.request_queue import Desk
        from foveate.runtime.serve.server import Server
        from foveate.runtime.serve.uploads import Uploads
    except ImportError as error:
        raise EngineError(f"serve needs more ({error}): pip install 'foveate[serve]'") from None

    limits, metrics = request.limits, Metrics()
    threads = engine_threads(request.threads, FEW)
    with ExitStack() as end, _cascade(request, threads) as cascade:
        wish = Wish(request.workers, request.batch, threads)
        plan = plan_for(cascade, wish, FEW, available_cores())
        with Desk(cascade, plan, limits, metrics) as desk:
            app = app_of(Service(desk, Uploads(limits), metrics))
            with Server(app, request.host, request.port, limits) as server:
                listening(Listening(server.url, cascade.choice.label, plan))
                while server.alive and desk.fault is None and not stop.wait(WAKE_S):
                    pass
                end.enter_context(ends_within(limits.request_s + GRACE_S))
            end.enter_context(ends_within(GRACE_S))  # who waited for an image has been told
        if desk.fault is not None:
            raise desk.fault


def _cascade(request: ServeRequest, threads: int) -> Cascade:
    """Return the cascade, once what is slow in its first runs is behind it."""
    bundle = open_bundle(request.bundle, keys_in(request.trust))
    speeds, settings = Speeds(threads, idle_timer()), LoadSettings(threads, gpu=request.gpu)
    choice = choose(bundle, request.engine, request.precision, speeds, request.gpu)
    cascade = Cascade.chosen(bundle, choice, settings, request.engine == AUTO)
    size = cascade.spec.stage1
    cascade.warm_up([(size.height, size.width)])  # a plan need not cover this size
    return cascade
