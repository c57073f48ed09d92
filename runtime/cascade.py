"""The public face: a bundle in, masks out. numpy arrays on both sides."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.runtime.bundle import Bundle, graph_name, open_bundle
from foveate.runtime.closing import Closing
from foveate.runtime.engines import ENGINES, engine_from_onnx
from foveate.runtime.engines.base import Array, Engine, Pixels, feed
from foveate.runtime.errors import BundleError, EngineError, GraphError, ImageError
from foveate.runtime.graph_check import check_signature, check_values
from foveate.runtime.limits import MAX_ELEMENTS, largest_channels
from foveate.runtime.spec import CascadeSpec

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

BATCH_PIXELS = 1 << 22
"""Images of one size run together while they have no more pixels than this in all."""


@dataclass(frozen=True)
class Timings:
    """Where the time of a run went, in milliseconds of wall-clock time.

    ``h2d_ms``: the images become the engine's input (on a GPU, also the copy to it).
    ``execute_ms``: the engine. ``d2h_ms``: its outputs become checked results (on a GPU, also the
    copy from it). Images that ran as one batch share the times of the whole batch.
    """

    h2d_ms: float
    execute_ms: float
    d2h_ms: float


@dataclass(frozen=True)
class Result:
    """What the cascade says of one image.

    ``mask`` is (H, W) uint8 class indices at the image's own size. ``box_xyxy`` is the region
    stage 2 looked at, (R, 4) float32 in pixels of the image, end exclusive. ``score`` is the mean
    winning probability over the foreground, 0 where there is none. ``coarse`` (C, h1, w1) and
    ``refined`` (R * C, h2, w2) are float32 probabilities, None unless asked for. ``timings`` is
    where the time went; every result of a Cascade has it.
    """

    mask: Mask
    box_xyxy: FloatArray
    score: float
    coarse: FloatArray | None = None
    refined: FloatArray | None = None
    timings: Timings | None = None


class Cascade(Closing):
    """A loaded cascade. Use it as a context manager, or call ``close``. Safe from several threads.

    .. code-block:: python

        with Cascade.load("lung.bundle") as cascade:
            mask = cascade(image).mask
    """

    def __init__(self, bundle: Bundle, engine: Engine, precision: str) -> None:
        self.bundle = bundle
        self.engine = engine
        self._graph = bundle.folder / graph_name(precision)
        check_signature(engine, bundle.spec, self._graph)

    @classmethod
    def load(
        cls, path: str | Path, engine: str = "auto", precision: str = "fp32", threads: int = 0
    ) -> Cascade:
        """Return the cascade of a bundle, its files verified.

        ``engine`` is auto or a name of ``foveate.runtime.engines.ENGINES``; ``threads`` 0 takes
        the cores this process may use. Raises BundleError and EngineError.
        """
        bundle = open_bundle(Path(path))
        name = next(iter(ENGINES)) if engine == "auto" else engine
        if name == "onnxruntime" and precision == "fp16":
            raise EngineError(
                "onnxruntime has no fp16 arithmetic on a CPU and would emulate it for minutes; "
                "use fp32 here"
            )
        try:
            loaded = engine_from_onnx(name, bundle.graph(precision), threads)
        except GraphError as error:
            raise BundleError(f"{bundle.folder / graph_name(precision)}: {error}") from error
        return cls(bundle, loaded, precision)

    @property
    def spec(self) -> CascadeSpec:
        return self.bundle.spec

    def __call__(self, image: Pixels, probabilities: bool = False) -> Result:
        """Return the result for one (H, W) uint8 or uint16 image.

        ``probabilities`` also fetches ``coarse`` and ``refined``. An image of the other type than
        the bundle's is converted (``as_input_type``). Raises ImageError for other shapes.
        """
        return self._run([image], probabilities)[0]

    def batch(self, images: Sequence[Pixels], probabilities: bool = False) -> list[Result]:
        """Return one result per image, in order; the images may have any sizes."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(image.shape, []).append(index)
        results: dict[int, Result] = {}
        for shape, indices in groups.items():
            step = max(1, BATCH_PIXELS // max(1, int(np.prod(shape))))
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                found = self._run([images[index] for index in part], probabilities)
                results.update(zip(part, found, strict=True))
        return [results[index] for index in range(len(images))]

    def stream(
        self, images: Iterable[Pixels], copy: bool = True, probabilities: bool = False
    ) -> Iterator[Result]:
        """Yield one result per image, in order, reading two images ahead of the one yielded.

        While the caller works on a result the next images are being segmented. With
        ``copy=False`` the arrays of a result may be overwritten when the next one is taken.
        """
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="foveate-stream") as worker:
            try:
                for image in images:
                    waiting.append(worker.submit(self.__call__, image, probabilities))
                    if len(waiting) > 2:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _run(self, images: Sequence[Pixels], probabilities: bool) -> list[Result]:
        """Return results for images of one shape, run as one batch."""
        started = time.perf_counter()
        converted = [as_input_type(image, self.spec.input_type) for image in images]
        pixels: Pixels = np.stack(converted)  # type: ignore[assignment]  # one type for all
        width = int(self.bundle.manifest["network"]["width"])
        largest = pixels.size * largest_channels(self.spec, width)
        if largest > MAX_ELEMENTS:
            raise ImageError(
                f"a batch of {len(images)} images of {pixels.shape[2]}x{pixels.shape[1]} needs "
                f"tensors of {largest} elements; the limit is {MAX_ELEMENTS}"
            )
        wanted = ["mask", "box", "score"] + (["coarse", "refined"] if probabilities else [])
        feeds = {"image": feed(pixels)}
        fed = time.perf_counter()
        try:
            found = self.engine.run(feeds, wanted)
        except GraphError as error:
            raise GraphError(f"{self._graph}: {error}") from error
        executed = time.perf_counter()
        check_values(found, pixels.shape, self.spec, self._graph)
        marks = (started, fed, executed, time.perf_counter())
        timings = Timings(*(1000 * (b - a) for a, b in pairwise(marks)))
        return [_result(found, index, len(images), timings) for index in range(len(images))]

    def close(self) -> None:
        """Free the engine; calling it again does nothing."""
        self.engine.close()


def as_input_type(image: Pixels, input_type: str) -> Pixels:
    """Return an image as the type a bundle takes.

    uint8 to uint16 multiplies by 257, so 255 becomes 65535; uint16 to uint8 divides by 257 and
    rounds. ImageError for anything but a (H, W) uint8 or uint16 array with pixels.
    """
    if not isinstance(image, np.ndarray) or image.ndim != 2 or 0 in image.shape:
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(f"the image is {shape}; wanted a (H, W) array with at least one pixel")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image is {image.dtype}; wanted uint8 or uint16. Convert it first")
    if str(image.dtype) == input_type:
        return image
    if input_type == "uint16":
        return image.astype(np.uint16) * np.uint16(257)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _result(found: dict[str, Array], index: int, count: int, timings: Timings) -> Result:
    coarse, refined = found.get("coarse"), found.get("refined")
    if refined is not None:
        per_image = len(refined) // count
        refined = refined[index * per_image : (index + 1) * per_image]
        refined = refined.reshape(-1, *refined.shape[2:])
    return Result(
        mask=found["mask"][index],
        box_xyxy=found["box"][index],
        score=float(found["score"][index]),
        coarse=None if coarse is None else coarse[index],
        refined=refined,
        timings=timings,
    )
