"""From files to files: decode ahead, segment, encode behind; one bad file stops nothing else."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.calls import Call
from foveate.runtime.cascade import Cascade
from foveate.runtime.engines.base import Pixels
from foveate.runtime.errors import DeviceMemoryError, FoveateError, GraphError, ImageError
from foveate.runtime.image_files import read_image
from foveate.runtime.input_paths import OVERLAYS
from foveate.runtime.inputs import Item
from foveate.runtime.mask_files import write_mask
from foveate.runtime.overlays import draw_overlay, eight_bit
from foveate.runtime.result import Result

AHEAD = 3
"""Images decoded before they are needed, and masks waiting to be written."""
FAILURES = "failures.jsonl"
NO_PIXELS: Pixels = np.zeros((0, 0), np.uint8)
Done = TypeVar("Done")


@dataclass(frozen=True)
class Failure:
    """An input that gave no mask, and why."""

    input: str
    reason: str


@dataclass
class Report:
    """What became of a batch. ``seconds`` counts from the first decode to the last write.

    ``engines`` counts the masks of each engine and precision.
    """

    written: int = 0
    empty: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    failures: list[Failure] = field(default_factory=list)
    engines: dict[str, int] = field(default_factory=dict)


def segment_files(
    cascade: Cascade,
    items: Sequence[Item],
    out: Path,
    overlay: bool,
    progress: Callable[[str, int, int], None],
) -> Report:
    """Segment every item into ``out`` and return what became of them.

    Masks are written under a temporary name and renamed. Failures go to ``failures.jsonl`` in
    ``out``, which is replaced, and removed when there are none. Ctrl-C finishes the image in
    flight.
    """
    (out / OVERLAYS if overlay else out).mkdir(parents=True, exist_ok=True)
    report = Report()
    started = time.monotonic()
    waiting: deque[tuple[Item, Future[None]]] = deque()
    with ThreadPoolExecutor(1, "foveate-encode") as encoder:
        try:
            for number, (item, image, result) in enumerate(_segmented(cascade, items), 1):
                if isinstance(result, Result):
                    report.empty += not result.mask.any()
                    report.engines[result.engine] = report.engines.get(result.engine, 0) + 1
                    job = encoder.submit(_write, cascade, item, image, result, out, overlay)
                    waiting.append((item, job))
                else:
                    report.failures.append(Failure(str(item.path), str(result)))
                while len(waiting) > AHEAD:
                    _finish(waiting.popleft(), report)
                progress("segmenting", number, len(items))
        except KeyboardInterrupt:
            report.interrupted = True
        while waiting:
            _finish(waiting.popleft(), report)
    report.seconds = time.monotonic() - started
    _write_failures(out / FAILURES, report.failures)
    return report


def _decoded(items: Sequence[Item]) -> Iterator[tuple[Item, Pixels | ImageError]]:
    """Yield every item with its pixels, or with what is wrong with it, decoding ahead."""
    waiting: deque[tuple[Item, Future[Pixels | ImageError]]] = deque()
    with ThreadPoolExecutor(1, "foveate-decode") as decoder:
        try:
            for item in items:
                waiting.append((item, decoder.submit(_read, item)))
                if len(waiting) > AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _read(item: Item) -> Pixels | ImageError:
    try:
        return read_image(item.path, item.page)
    except ImageError as error:
        return error


def _segmented(
    cascade: Cascade, items: Sequence[Item]
) -> Iterator[tuple[Item, Pixels, Result | FoveateError]]:
    """Yield every item with its pixels and its result, or with what is wrong with it.

    On a GPU the next images are under way by then. What is wrong with the engine itself is raised.
    """
    begun: deque[tuple[Item, Pixels, Call | FoveateError]] = deque()
    for item, image in _decoded(items):
        if isinstance(image, ImageError):
            begun.append((item, NO_PIXELS, image))
        else:
            begun.append((item, image, _tried(cascade.begin, image)))
        if len(begun) > cascade.beside:
            yield _finished(*begun.popleft())
    while begun:
        yield _finished(*begun.popleft())


def _finished(
    item: Item, image: Pixels, call: Call | FoveateError
) -> tuple[Item, Pixels, Result | FoveateError]:
    if not isinstance(call, Call):
        return item, image, call
    return item, image, _tried(lambda: call.finish()[0])


def _tried(work: Callable[..., Done], *given: Pixels) -> Done | FoveateError:
    """Return what came of it, or the error that is this image's alone."""
    try:
        return work(*given)
    except (ImageError, GraphError, DeviceMemoryError) as error:
        return error


def _write(
    cascade: Cascade, item: Item, image: Pixels, result: Result, out: Path, overlay: bool
) -> None:
    path = out / f"{item.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, result.mask, len(cascade.spec.classes))
    if not overlay:
        return
    boxes = None if cascade.spec.region.mode == "none" else result.box_xyxy
    picture = draw_overlay(eight_bit(image), result.mask, boxes)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    path = out / OVERLAYS / f"{item.name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(data.tobytes()))


def _finish(entry: tuple[Item, Future[None]], report: Report) -> None:
    item, job = entry
    try:
        job.result()
        report.written += 1
    except OSError as error:
        report.failures.append(
            Failure(str(item.path), f"mask not written: {error.strerror or error}")
        )


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    path.unlink(missing_ok=True)
    if failures:
        lines = "".join(json.dumps(asdict(failure)) + "\n" for failure in failures)
        write_atomically(path, lambda file: file.write(lines.encode()))
