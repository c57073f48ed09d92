"""The public face: a bundle in, masks out. Arrays on both sides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from foveate.runtime.auto.choose import AUTO, CPU_ENGINE, Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.bundle.bundle import Bundle, graph_name, open_bundle
from foveate.runtime.cascade.calls import Call, Caller
from foveate.runtime.cascade.checks import check_signature
from foveate.runtime.cascade.runs import Bounds, Runs
from foveate.runtime.cascade.spare import Spare
from foveate.runtime.closing import Closing
from foveate.runtime.engines.base import Engine, Submitting
from foveate.runtime.engines.registry import PLANNED, LoadSettings, engine_from_bundle
from foveate.runtime.engines.tensorrt.plan_record import graph_of
from foveate.runtime.engines.tensorrt.slot import CLOSED
from foveate.runtime.errors import EngineError
from foveate.runtime.foreign_arrays import Image, taken
from foveate.runtime.gpu_array import GpuArray
from foveate.runtime.home_process import HomeProcess
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from foveate.runtime.cascade.submissions import Submissions
    from foveate.runtime.cascade.warm_up import Refused, Shape

READ_AHEAD = 2
"""Images that a stream reads ahead of the one yielded, and that wait behind a submitted one."""


class Cascade(Closing):
    """A loaded cascade. Use it as a context manager, or call ``close``. Safe from several threads.

    ``choice`` is the engine and the precision, and why. Where ``auto`` took TensorRT, images of a
    size that no plan covers are segmented by ``spare``, loaded when the first one comes. It is used
    by the process that loaded it: a fork of that gets an EngineError.

    .. code-block:: python

        with Cascade.load("lung.bundle") as cascade:
            mask = cascade(image).mask
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        choice: Choice,
        spare: Callable[[], Cascade] | None = None,
    ) -> None:
        self.bundle, self.engine, self.choice = bundle, engine, choice
        self._home, self._lock = HomeProcess(), Lock()
        self._spare = None if spare is None else Spare(spare)
        self._submissions: Submissions | None = None
        self._closed = False
        graph = bundle.path / graph_name(graph_of(choice.precision))
        check_signature(engine, bundle.spec, graph)
        caller = Caller(engine, bundle.spec, graph, choice.label)
        width = int(bundle.manifest["network"]["width"])
        self.runs = Runs(caller, Bounds(self._home, self._spare, width))

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
    ) -> Cascade:
        """Return the cascade of a bundle, a folder or a packed file, its files verified.

        ``engine`` is auto or a name of ``foveate.runtime.engines.engine_names``, ``precision`` auto
        or one of the bundle's, tf32 or bf16; ``choice.choose`` says what auto takes. ``threads`` 0
        takes the cores this process may use. ``latency``: on a GPU one run at a time, answered as
        soon as it is over. ``gpu``: the number of the GPU to use, as CUDA counts them (of those
        that ``CUDA_VISIBLE_DEVICES`` shows); engines on the CPU ignore it.

        ``trusted`` are public keys in PEM: a bundle that none of them signed is refused; None takes
        any. Nothing is timed here: on a CPU auto goes by the times that ``foveate info`` or
        ``segment`` have kept. Raises BundleError, EngineError and SettingsError.
        """
        settings = LoadSettings(threads, latency, gpu)
        bundle = open_bundle(Path(path), trusted)
        choice = choose(bundle, engine, precision, Speeds(threads), gpu)
        return cls.chosen(bundle, choice, settings, spare=engine == AUTO)

    @classmethod
    def chosen(
        cls,
        bundle: Bundle,
        choice: Choice,
        settings: LoadSettings = LoadSettings(),  # noqa: B008  # frozen
        spare: bool = True,
    ) -> Cascade:
        """Return the cascade of a choice that was made before; the rest is as for ``load``.

        ``spare``: images that no plan of TensorRT covers go to ONNX Runtime. Raises BundleError,
        EngineError and SettingsError.
        """
        name, second = choice.engine, None
        loaded = engine_from_bundle(bundle, name, choice.precision, settings)
        if spare and name == PLANNED:
            second = partial(cls._on_the_cpu, bundle, settings)
        return cls(bundle, loaded, choice, second)

    @classmethod
    def _on_the_cpu(cls, bundle: Bundle, settings: LoadSettings) -> Cascade:
        """Return the spare of a cascade on a GPU; the bundle was checked when it was opened."""
        own = LoadSettings(settings.threads)
        return cls.chosen(bundle, choose(bundle, CPU_ENGINE, "fp32"), own)

    @property
    def spec(self) -> CascadeSpec:
        return self.bundle.spec

    def __call__(
        self, image: Image, probabilities: bool = False, out: Image | None = None
    ) -> Result:
        """Return the result for one (H, W) uint8 or uint16 image.

        The image is numpy's, any library's on the host that speaks DLPack, or with TensorRT one in
        the GPU's memory that has ``__cuda_array_interface__``, contiguous and of the bundle's own
        type; what is on the GPU is not copied to the host. ``probabilities`` also fetches
        ``coarse`` and ``refined``. ``out``, (H, W) uint8, of the same kinds, is written to and is
        the result's mask; on a GPU its values are not checked. An image on the host of the other
        type than the bundle's is converted (``as_input_type``). Raises ImageError for other shapes.
        """
        return self.runs.begin([taken(image)], probabilities, out).finish()[0]

    def begin(self, image: Image, probabilities: bool = False) -> Call:
        """Return the call for one image once it is under way; ``finish`` gives its result.

        As many calls as ``beside`` may be under way while another's result is used. An engine on
        the CPU has done the call by then. Raises ImageError as a call does.
        """
        return self.runs.begin([taken(image)], probabilities)

    def together(self, images: Sequence[Image], probabilities: bool = False) -> list[Result]:
        """Return the results of images of one shape that run as one call.

        Where a GPU has no room for so many, halves are tried, with a SmallerBatchWarning.
        """
        found = [taken(image) for image in images]
        return self.runs.finished(self.runs.begin(found, probabilities), found, probabilities)

    def submit(self, image: Image, probabilities: bool = False) -> Future[Result]:
        """Return the future of an image's result, in hand from now on.

        Blocks only while as many images are in hand as there are runs under way and two more. The
        image may be changed when this returns; one on the GPU, when the future is done. Futures
        are done in the order of submission, by a thread of this cascade. What is wrong with an
        image is raised by its future and touches no other. ``close`` waits for all of them; it is
        not to be called by a future's callback. Raises EngineError once closed.
        """
        self._home.check()
        return self._submitter()(image, probabilities)

    def warm_up(self, shapes: Sequence[Shape]) -> list[Refused]:
        """Run every shape, (H, W) or (N, H, W), until a further run costs no more than the next.

        Returns the shapes that are refused, each with the reason; empty where all are taken. It is
        the calling thread's run that is warm: where several threads call at once, each has memory
        of its own, made when it first comes.
        """
        from foveate.runtime.cascade.warm_up import warm_up

        return warm_up(self, shapes)

    def batch(self, images: Sequence[Image], probabilities: bool = False) -> list[Result]:
        """Return one result per image, in order; the images may have any sizes.

        Images of one size run together. Where a GPU has no room for so many, fewer are tried, and
        a SmallerBatchWarning warning says so.
        """
        return self.runs.batch([taken(image) for image in images], probabilities)

    def stream(
        self, images: Iterable[Image], copy: bool = True, probabilities: bool = False
    ) -> Iterator[Result]:
        """Yield one result per image, in order, reading two images ahead of the one yielded.

        While the caller works on a result the next images are being segmented. What ``images``
        raises comes after the results of all before. With
        ``copy=False`` the arrays of a result may be overwritten when the next one is taken, or
        when another thread uses this cascade.
        """
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that a first mask can do without

        ahead = self.beside if isinstance(self.engine, Submitting) else READ_AHEAD
        waiting: deque[Future[Call]] = deque()
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
                        yield waiting.popleft().result().finish(copy)[0]
                if not isinstance(end, StopIteration):
                    raise end
            finally:
                for future in waiting:
                    future.cancel()

    def _ahead(
        self,
        feeder: ThreadPoolExecutor,
        earlier: Sequence[Future[Call]],
        image: Image,
        probabilities: bool,
    ) -> Future[Call]:
        """Return the future of a call that the feeder begins, after the earlier ones.

        An image on a GPU is looked at and its call begun by the calling thread: its stream may be
        the default stream of that thread alone.
        """
        from concurrent.futures import Future, wait

        begun: Future[Call] = Future()
        try:
            found = taken(image)
            if not isinstance(found, GpuArray):
                return feeder.submit(self.runs.begin, [found], probabilities)
            wait(earlier)
            begun.set_result(self.runs.begin([found], probabilities))
        except Exception as error:
            begun.set_exception(error)
        return begun

    @property
    def beside(self) -> int:
        """How many calls may be under way beside the one whose result is used; 0 on a CPU."""
        return self.runs.beside

    def close(self) -> None:
        """Finish what was submitted and free the engine; calling it again does nothing.

        No thread of the cascade is left then. In a fork of its process it frees nothing, for that
        would wait for threads that are not there. Raises EngineError in the callback of a future,
        and closes nothing: its thread cannot wait for itself.
        """
        if not self._home.here:
            return
        with self._lock:
            if self._submissions is not None and self._submissions.in_its_thread:
                raise EngineError(
                    "close was called by the callback of a future, whose thread it would wait "
                    "for; call it in another thread"
                )
            self._closed = True
            submissions, self._submissions = self._submissions, None
        with ExitStack() as ends:
            ends.callback(self.engine.close)
            if self._spare is not None:
                ends.callback(self._spare.close)
            if submissions is not None:
                ends.callback(submissions.close)

    def _submitter(self) -> Submissions:
        with self._lock:
            if self._closed:
                raise EngineError(CLOSED)
            if self._submissions is None:
                from foveate.runtime.cascade.submissions import Submissions

                self._submissions = Submissions(self.runs, self.beside + 1 + READ_AHEAD)
            return self._submissions
