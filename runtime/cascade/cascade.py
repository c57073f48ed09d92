"""Public API: load a bundle and segment images held as arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from foveate.runtime.arrays import GpuArray
from foveate.runtime.auto.choose import AUTO, CPU_ENGINE, Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.bundle.bundle import Bundle, graph_name, open_bundle
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.cascade.fallback import Fallback
from foveate.runtime.cascade.session import PendingResults, Session, SessionLimits
from foveate.runtime.closeable import CLOSED, Closeable, ForkGuard
from foveate.runtime.engines.base import AsyncEngine, Engine
from foveate.runtime.engines.registry import TENSORRT, LoadSettings, engine_from_bundle
from foveate.runtime.errors import EngineError, SettingsError
from foveate.runtime.foreign_arrays import Image, as_image
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec, graph_of

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from foveate.runtime.cascade.submit_queue import SubmitQueue
    from foveate.runtime.cascade.warm_up import Refused, Shape

READ_AHEAD = 2
"""Images that a stream reads ahead of the one yielded, and that may wait to be submitted."""


class Cascade(Closeable):
    """A loaded cascade. Use it as a context manager, or call ``close``. Safe from several threads.

    ``choice`` is the engine, the precision, and why. If ``auto`` chose TensorRT, images of a size
    that no plan covers go to a fallback on the CPU, loaded when the first one comes. Only the
    process that loaded a cascade may use it: a fork gets an EngineError.

    .. code-block:: python

        with Cascade.load("lung.bundle") as cascade:
            mask = cascade(image).mask
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        choice: Choice,
        fallback: Fallback[Session] | None = None,
        decide: Decision = Decision(),  # noqa: B008  # frozen
    ) -> None:
        self.bundle, self.choice, self.decision = bundle, choice, decide
        self._guard, self._lock = ForkGuard(), Lock()
        self._submit_queue: SubmitQueue | None = None
        self._closed = False
        self._session = open_session(bundle, engine, choice, self._guard, fallback, decide)

    @classmethod
    def load(
        cls,
        path: str | Path,
        engine: str = AUTO,
        precision: str = AUTO,
        threads: int = 0,
        latency: bool = False,
        gpu: int = 0,
        trusted: Sequence[bytes] | None = None,
        decide: Decision = Decision(),  # noqa: B008  # frozen
    ) -> Cascade:
        """Load a bundle, a folder or a packed file, and verify its files.

        ``engine`` is auto, onnxruntime, openvino, openvino-gpu, onnxruntime-cuda or tensorrt;
        ``precision`` is auto, one of the bundle's, tf32 or bf16. ``threads`` 0 uses the cores this
        process may use. ``latency``: on a GPU one run at a time, for the lowest latency. ``gpu``:
        the number of the GPU as CUDA counts them (among those that ``CUDA_VISIBLE_DEVICES``
        shows); engines on the CPU ignore it.

        ``trusted`` are public keys in PEM: a bundle that none of them signed is refused; None
        accepts any. Nothing is timed here: on a CPU auto uses the times that ``foveate info`` or
        ``segment`` have stored.

        ``decide``: how every mask is decided, by a threshold other than the bundle's or with small
        pieces removed; lengths and areas in pixels, as arrays have no pixel size. Raises
        BundleError, EngineError and SettingsError.
        """
        settings = LoadSettings(threads, latency, gpu)
        bundle = open_bundle(Path(path), trusted)
        choice = choose(bundle, engine, precision, Speeds(threads), gpu)
        return cls.chosen(bundle, choice, settings, engine == AUTO, decide)

    @classmethod
    def chosen(
        cls,
        bundle: Bundle,
        choice: Choice,
        settings: LoadSettings = LoadSettings(),  # noqa: B008  # frozen
        fallback: bool = True,
        decide: Decision = Decision(),  # noqa: B008  # frozen
    ) -> Cascade:
        """Return the cascade of a choice that was already made; otherwise like ``load``.

        ``fallback``: images that no TensorRT plan covers go to ONNX Runtime.
        """
        decide.check(bundle.spec)
        if measure := decide.physical:
            raise SettingsError(
                f"{measure.name} is {measure}, and arrays have no pixel size; give it in pixels"
            )
        engine = engine_from_bundle(bundle, choice.engine, choice.precision, settings)
        second = None
        if fallback and choice.engine == TENSORRT:
            second = Fallback(partial(cpu_session, bundle, settings.threads, decide))
        return cls(bundle, engine, choice, second, decide)

    def __repr__(self) -> str:
        spec = self.spec
        sizes = " and ".join(f"{s.height}x{s.width}" for s in (spec.stage1, spec.stage2) if s)
        if spec.pad_multiple:
            sizes = "full size"
        return f"<Cascade {self.bundle.label}, {self.choice.label}, {spec.input_type}, {sizes}>"

    @property
    def engine(self) -> Engine:
        return self._session.engine

    @property
    def spec(self) -> CascadeSpec:
        return self.bundle.spec

    def __call__(
        self, image: Image, probabilities: bool = False, out: Image | None = None
    ) -> Result:
        """Return the result for one uint8 or uint16 image, (H, W), or (H, W, C) of C channels.

        The image is numpy's, any library's on the host that speaks DLPack, or with TensorRT one in
        the GPU's memory that has ``__cuda_array_interface__``, contiguous and of the bundle's own
        type; what is on the GPU is not copied to the host. ``probabilities`` also fetches
        ``coarse`` and ``refined``. ``out``, (H, W) uint8, of the same kinds, is written to and is
        the result's mask; on a GPU its values are not checked. An image on the host of the other
        type than the bundle's is converted (``as_input_type``). Raises ImageError for other shapes.
        """
        return self._session.begin([as_image(image)], probabilities, out).results()[0]

    def submit(self, image: Image, probabilities: bool = False) -> Future[Result]:
        """Submit an image and return the future of its result.

        Blocks only while two images more than ``max_in_flight`` are in flight. The image may be
        changed once this returns; one on the GPU, once the future is done. A thread of this cascade
        completes the futures in order of submission. An error of an image is raised by its own
        future only. ``close`` waits for all of them; do not call it from a future's callback.
        Raises EngineError once closed.
        """
        self._guard.check()
        return self._queue()(image, probabilities)

    def warm_up(self, shapes: Sequence[Shape], fixed: bool = True) -> list[Refused]:
        """Run every shape, (H, W) or (N, H, W), until further runs cost the same.

        Returns the shapes that are refused, each with the reason. Only the calling thread's run is
        warm: each further thread that calls at the same time allocates its own memory first.

        ``fixed``: OpenVINO compiles the graph for each of the first 8 shapes: calls of that shape
        take less time, masks stay within the bounds of parity, and each shape takes as much memory
        as the weights.
        """
        from foveate.runtime.cascade.warm_up import warm_up

        return warm_up(self._session, shapes, fixed)

    def batch(self, images: Sequence[Image], probabilities: bool = False) -> list[Result]:
        """Return one result per image, in order; the images may have any sizes.

        Images of one size run together. An engine may add up a batch in another order than a single
        call, so a pixel whose probability is at the threshold may differ. If a GPU has not enough
        memory for them, fewer are tried, with a SmallerBatchWarning.
        """
        return self._session.batch([as_image(image) for image in images], probabilities)

    def stream(
        self, images: Iterable[Image], copy: bool = True, probabilities: bool = False
    ) -> Iterator[Result]:
        """Yield one result per image, in order, reading two images ahead of the one yielded.

        The next images are segmented while the caller uses a result. An exception of ``images`` is
        raised after the results of all earlier images. With ``copy=False`` the arrays of a result
        may be overwritten once the next one is taken, or when another thread uses this cascade.
        """
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, not needed for a first mask

        is_async = isinstance(self.engine, AsyncEngine)
        ahead = self.max_in_flight - 1 if is_async else READ_AHEAD
        waiting: deque[Future[PendingResults]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="foveate-stream") as feeder:
            given, end = iter(images), None
            try:
                while end is None:
                    try:
                        image = next(given)
                    except Exception as error:  # StopIteration, or what the source raises
                        end = error
                    else:
                        waiting.append(self._ahead(feeder, waiting, image, probabilities))
                    while len(waiting) > (ahead if end is None else 0):
                        yield waiting.popleft().result().results(copy)[0]
                if not isinstance(end, StopIteration):
                    raise end
            finally:
                for future in waiting:
                    future.cancel()

    def _ahead(
        self,
        feeder: ThreadPoolExecutor,
        earlier: Sequence[Future[PendingResults]],
        image: Image,
        probabilities: bool,
    ) -> Future[PendingResults]:
        """Return the future of a call that the feeder thread starts, after the earlier ones.

        The calling thread itself starts the call of an image on a GPU, whose stream may be the
        default stream of that thread.
        """
        from concurrent.futures import Future, wait

        begun: Future[PendingResults] = Future()
        try:
            found = as_image(image)
            if not isinstance(found, GpuArray):
                return feeder.submit(self._session.begin, [found], probabilities)
            wait(earlier)
            begun.set_result(self._session.begin([found], probabilities))
        except Exception as error:
            begun.set_exception(error)
        return begun

    @property
    def max_in_flight(self) -> int:
        """How many calls can be in flight at a time; 1 on a CPU."""
        return self._session.max_in_flight

    def close(self) -> None:
        """Finish what was submitted, end all threads and free the engine; repeatable.

        In a fork of its process it frees nothing, which would wait for threads that do not exist.
        In the callback of a future it raises EngineError and closes nothing: the thread cannot wait
        for itself.
        """
        if not self._guard.in_home_process:
            return
        with self._lock:
            if self._submit_queue is not None and self._submit_queue.in_its_thread:
                raise EngineError(
                    "close was called by the callback of a future, whose thread it would wait "
                    "for; call it in another thread"
                )
            self._closed = True
            queue, self._submit_queue = self._submit_queue, None
        with ExitStack() as ends:
            ends.callback(self._session.close)
            if queue is not None:
                ends.callback(queue.close)

    def _queue(self) -> SubmitQueue:
        with self._lock:
            if self._closed:
                raise EngineError(CLOSED)
            if self._submit_queue is None:
                from foveate.runtime.cascade.submit_queue import SubmitQueue

                self._submit_queue = SubmitQueue(self._session, self.max_in_flight + READ_AHEAD)
            return self._submit_queue


def open_session(
    bundle: Bundle,
    engine: Engine,
    choice: Choice,
    guard: ForkGuard,
    fallback: Fallback[Session] | None,
    decide: Decision,
) -> Session:
    """Return the session of a bundle's engine."""
    graph = bundle.path / graph_name(graph_of(choice.precision))
    limits = SessionLimits(guard, fallback, bundle.width, decide)
    return Session(engine, bundle.spec, graph, choice.label, limits)


def cpu_session(
    bundle: Bundle,
    threads: int,
    decide: Decision = Decision(),  # noqa: B008  # frozen
) -> Session:
    """Return the fallback of a cascade on a GPU; the bundle has been verified."""
    choice = choose(bundle, CPU_ENGINE, "fp32")
    engine = engine_from_bundle(bundle, choice.engine, choice.precision, LoadSettings(threads))
    return open_session(bundle, engine, choice, ForkGuard(), None, decide)
