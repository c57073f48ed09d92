"""Run ``foveate serve``: load a bundle and serve it until stopped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from foveate.runtime.auto.choose import AUTO, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing_child import idle_timer
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.signing import keys_in
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.engines.registry import LoadSettings
from foveate.runtime.errors import EngineError, SettingsError
from foveate.runtime.io.window import Window
from foveate.runtime.segment.concurrency import (
    FEW,
    Concurrency,
    WorkerOptions,
    choose_concurrency,
    engine_threads,
)
from foveate.runtime.serve.settings import Limits

WAKE_S = 0.2
GRACE_S = 5.0
GIVEN_UP = 1
"""Exit code when work did not end in time."""


@dataclass(frozen=True)
class ServeRequest:
    """The options of ``foveate serve``; ``sizes`` are (H, W)."""

    bundle: Path
    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = Limits()
    engine: str = AUTO
    precision: str = AUTO
    workers: int = 0
    batch: int = 1
    threads: int = 0
    sizes: Sequence[tuple[int, int]] = ()
    gpu: int = 0
    trust: Sequence[Path] = ()
    window: str = ""
    decide: Decision = Decision()


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and with which bundle, engine and concurrency."""

    url: str
    bundle: str
    engine: str
    concurrency: Concurrency


def serve_run(
    request: ServeRequest, listening: Callable[[Listening], object], stop: threading.Event
) -> None:
    """Serve until ``stop``; call ``listening`` once requests are accepted.

    At the end the requests in flight are answered; if work does not end within ``GRACE_S`` after
    that, the process exits. Raises FoveateError for what the user can fix, EngineError if the
    engine fails while serving.
    """
    try:
        from foveate.runtime.serve.app import Service, app_of
        from foveate.runtime.serve.metrics import Metrics
        from foveate.runtime.serve.request_queue import RequestQueue
        from foveate.runtime.serve.server import Server
        from foveate.runtime.serve.uploads import Uploads
    except ImportError as error:
        raise EngineError(
            f"serve needs more packages ({error}): pip install 'foveate[serve]'"
        ) from None

    if request.window:
        Window.parse(request.window)
    limits, metrics = request.limits, Metrics()
    threads = engine_threads(request.threads, FEW)
    with ExitStack() as end, _cascade(request, threads) as cascade:
        options = WorkerOptions(request.workers, request.batch, threads)
        concurrency = choose_concurrency(cascade, options, FEW, available_cores())
        with RequestQueue(cascade, concurrency, limits, metrics, request.window) as queue:
            app = app_of(Service(queue, Uploads(limits), metrics))
            with Server(app, request.host, request.port, limits) as server:
                bundle, engine = cascade.bundle.label, cascade.choice.label
                listening(Listening(server.url, bundle, engine, concurrency))
                while server.alive and queue.fault is None and not stop.wait(WAKE_S):
                    pass
                end.enter_context(exit_after(limits.request_s + GRACE_S))
            end.enter_context(
                exit_after(GRACE_S)
            )  # clients that waited for an image have their response
        if queue.fault is not None:
            raise queue.fault


def _cascade(request: ServeRequest, threads: int) -> Cascade:
    """Return the cascade, warmed up."""
    bundle = open_bundle(request.bundle, keys_in(request.trust))
    speeds, settings = Speeds(threads, idle_timer()), LoadSettings(threads, gpu=request.gpu)
    choice = choose(bundle, request.engine, request.precision, speeds, request.gpu)
    cascade = Cascade.chosen(bundle, choice, settings, request.engine == AUTO, request.decide)
    size = cascade.spec.stage1
    cascade.warm_up([(size.height, size.width)], fixed=False)  # a plan need not cover this size
    batches = sorted({1, request.batch})
    shapes = [(batch, *item) for item in request.sizes for batch in batches]
    for refused in cascade.warm_up(shapes):
        raise SettingsError(f"--sizes {refused.shape[1]}x{refused.shape[2]}: {refused.reason}")
    return cascade


@contextmanager
def exit_after(seconds: float) -> Iterator[None]:
    """End the process with a line on standard error if the body takes longer.

    No thread can be stopped within a decoder or an engine.
    """
    timer = threading.Timer(seconds, _exit_now, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _exit_now(seconds: float) -> None:
    said = f"Stopped; work still running after {seconds:g} s was abandoned.\n"
    sys.stderr.write(said)
    sys.stderr.flush()
    os._exit(GIVEN_UP)
