"""The public face: a bundle in, masks out. numpy arrays on both sides."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveate.runtime.bundle import Bundle, graph_name, open_bundle
from foveate.runtime.calls import Call, Caller
from foveate.runtime.choice import AUTO, CPU_ENGINE, Choice, choose
from foveate.runtime.closing import Closing
from foveate.runtime.cpu_choice import Speeds
from foveate.runtime.engines import PLANNED, engine_from_bundle
from foveate.runtime.engines.base import Engine, Pixels, Submitting
from foveate.runtime.errors import DeviceMemoryError, ImageError, LessMemory
from foveate.runtime.graph_check import check_signature
from foveate.runtime.limits import MAX_ELEMENTS, largest_channels, tile_elements
from foveate.runtime.plan_record import graph_of
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

if TYPE_CHECKING:
    from concurrent.futures import Future

BATCH_PIXELS = 1 << 22
"""Images of one size run together while they have no more pixels than this in all, on a CPU."""
READ_AHEAD = 2
"""Images that a stream reads ahead of the one yielded."""


class Cascade(Closing):
    """A loaded cascade. Use it as a context manager, or call ``close``. Safe from several threads.

    ``choice`` is the engine and the precision, and why. Where ``auto`` took TensorRT, images of a
    size that no plan covers are segmented by ``spare``, loaded when the first one comes.

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
        self._load_spare = spare
        self._spare: Cascade | None = None
        self._lock = threading.Lock()
        self._fitting: dict[tuple[int, ...], int] = {}
        graph = bundle.path / graph_name(graph_of(choice.precision))
        check_signature(engine, bundle.spec, graph)
        self._caller = Caller(engine, bundle.spec, graph, choice.label)

    @classmethod
    def load(
        cls,
        path: str | Path,
        engine: str = AUTO,
        precision: str = AUTO,
        threads: int = 0,
        latency: bool = False,
        trusted: Sequence[bytes] | None = None,
    ) -> Cascade:
        """Return the cascade of a bundle, a folder or a packed file, its files verified.

        ``engine`` is auto or a name of ``foveate.runtime.engines.engine_names``, ``precision`` auto
        or one of the bundle's, tf32 or bf16; ``choice.choose`` says what auto takes. ``threads`` 0
        takes the cores this process may use. ``latency``: on a GPU one run at a time, answered as
        soon as it is over. Nothing is timed here: on a CPU auto goes by the times that ``foveate
        info`` or ``segment`` have kept. ``trusted`` are public keys in PEM: a bundle that none of
        them signed is refused; None takes any. Raises BundleError and EngineError.
        """
        bundle = open_bundle(Path(path), trusted)
        choice = choose(bundle, engine, precision, Speeds(threads))
        return cls.chosen(bundle, choice, threads, latency, spare=engine == AUTO)

    @classmethod
    def chosen(
        cls, bundle: Bundle, choice: Choice, threads: int, latency: bool = False, spare: bool = True
    ) -> Cascade:
        """Return the cascade of a choice that was made before; the rest is as for ``load``.

        ``spare``: images that no plan of TensorRT covers go to ONNX Runtime. Raises BundleError
        and EngineError.
        """
        loaded = engine_from_bundle(bundle, choice.engine, choice.precision, threads, latency)

        def second() -> Cascade:
            return cls.chosen(bundle, choose(bundle, CPU_ENGINE, "fp32"), threads)

        return cls(bundle, loaded, choice, second if spare and choice.engine == PLANNED else None)

    @property
    def spec(self) -> CascadeSpec:
        return self.bundle.spec

    def __call__(self, image: Pixels, probabilities: bool = False) -> Result:
        """Return the result for one (H, W) uint8 or uint16 image.

        ``probabilities`` also fetches ``coarse`` and ``refined``. An image of the other type than
        the bundle's is converted (``as_input_type``). Raises ImageError for other shapes.
        """
        return self.begin(image, probabilities).finish()[0]

    def begin(self, image: Pixels, probabilities: bool = False) -> Call:
        """Return the call for one image once it is under way; ``finish`` gives its result.

        As many calls as ``beside`` may be under way while another's result is used. An engine on
        the CPU has done the call by then. Raises ImageError as a call does.
        """
        return self._begin([image], probabilities)

    def batch(self, images: Sequence[Pixels], probabilities: bool = False) -> list[Result]:
        """Return one result per image, in order; the images may have any sizes.

        Images of one size run together. Where a GPU has no room for so many, fewer are tried, and
        a LessMemory warning says so.
        """
        results: dict[int, Result] = {}
        waiting: deque[tuple[list[int], Call]] = deque()

        def take() -> None:
            part, call = waiting.popleft()
            found = self._finished(call, [images[index] for index in part], probabilities)
            results.update(zip(part, found, strict=True))

        for part in self._parts(images):
            call = self._begin([images[index] for index in part], probabilities)
            waiting.append((part, call))
            if len(waiting) > self.beside:
                take()
        while waiting:
            take()
        return [results[index] for index in range(len(images))]

    def stream(
        self, images: Iterable[Pixels], copy: bool = True, probabilities: bool = False
    ) -> Iterator[Result]:
        """Yield one result per image, in order, reading two images ahead of the one yielded.

        While the caller works on a result the next images are being segmented. With
        ``copy=False`` the arrays of a result may be overwritten when the next one is taken, or
        when another thread uses this cascade.
        """
        from concurrent.futures import ThreadPoolExecutor  # 10 ms that a first mask can do without

        ahead = self.beside if isinstance(self.engine, Submitting) else READ_AHEAD
        waiting: deque[Future[Call]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="foveate-stream") as feeder:
            try:
                for image in images:
                    waiting.append(feeder.submit(self._begin, [image], probabilities))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result().finish(copy)[0]
                while waiting:
                    yield waiting.popleft().result().finish(copy)[0]
            finally:
                for future in waiting:
                    future.cancel()

    @property
    def beside(self) -> int:
        """How many calls may be under way beside the one whose result is used; 0 on a CPU."""
        return self.engine.ahead - 1 if isinstance(self.engine, Submitting) else 0

    def _begin(self, images: Sequence[Pixels], probabilities: bool) -> Call:
        """Return the call of images of one shape, run as one batch, after it was begun."""
        self._check_size(images)
        if self._load_spare is not None and not self._takes(images):
            return self._spare_cascade()._begin(images, probabilities)
        return self._caller.begin(images, probabilities)

    def _finished(self, call: Call, images: Sequence[Pixels], probabilities: bool) -> list[Result]:
        """Return the results of a call, in two halves where the device has no room for it."""
        try:
            return call.finish()
        except DeviceMemoryError as error:
            if len(images) == 1:
                raise
            half = (len(images) + 1) // 2
            self._fitting[images[0].shape] = half
            text = f"{error}. Trying {half} images at a time in place of {len(images)}."
            warnings.warn(LessMemory(text), stacklevel=3)
        found = []
        for part in (images[:half], images[half:]):
            found += self._finished(self._begin(part, probabilities), part, probabilities)
        return found

    def _parts(self, images: Sequence[Pixels]) -> Iterator[list[int]]:
        """Yield the indices of images that run together: of one shape, and no more than fit."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(image.shape, []).append(index)
        for shape, indices in groups.items():
            while indices:
                step = self._most_images(len(indices), shape)
                yield indices[:step]
                indices = indices[step:]

    def _most_images(self, count: int, shape: tuple[int, ...]) -> int:
        """Return how many images of a shape one call takes, one at least."""
        count = min(count, self._fitting.get(shape, count))
        if isinstance(self.engine, Submitting) and len(shape) == 2:
            planned = self.engine.most_images(count, *shape)
            if planned or self._load_spare is None:
                return max(1, planned)
        return max(1, min(count, BATCH_PIXELS // max(1, prod(shape))))

    def _takes(self, images: Sequence[Pixels]) -> bool:
        """Say whether a plan covers a call."""
        shape = images[0].shape
        assert isinstance(self.engine, Submitting)
        if len(shape) != 2:
            return True  # and is refused by name
        return self.engine.most_images(len(images), *shape) == len(images)

    def _spare_cascade(self) -> Cascade:
        with self._lock:
            if self._spare is None and self._load_spare is not None:
                self._spare = self._load_spare()
            assert self._spare is not None
            return self._spare

    def _check_size(self, images: Sequence[Pixels]) -> None:
        """Raise ImageError where a tensor of the call would have too many elements."""
        width = int(self.bundle.manifest["network"]["width"])
        pixels = sum(np.size(image) for image in images)
        largest = pixels * largest_channels(self.spec, width)
        largest = max(largest, len(images) * tile_elements(self.spec, width))
        if largest > MAX_ELEMENTS:
            size = "x".join(str(side) for side in np.shape(images[0])[::-1])
            raise ImageError(
                f"a batch of {len(images)} images of {size} needs "
                f"tensors of {largest} elements; the limit is {MAX_ELEMENTS}"
            )

    def close(self) -> None:
        """Free the engine; calling it again does nothing."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
        self.engine.close()
