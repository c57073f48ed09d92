"""One cascade shared by the threads of a program: a service with a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import click
import numpy as np

from foveate.runtime import Cascade, FoveateError, Result, read_image
from foveate.runtime.arrays import Pixels
from foveate.runtime.closeable import Closeable


class Busy(Exception):
    """The service has as much work as it takes; come again later, or drop the image."""


class Service(Closeable):
    """Segments images of many threads by one cascade, in the order in which they came.

    ``workers`` images are under way at once and ``most_waiting`` wait; the next one is refused, so
    that memory and delay are bounded. An image that cannot be segmented fails alone.
    """

    def __init__(self, cascade: Cascade, workers: int = 2, most_waiting: int = 8) -> None:
        self._cascade = cascade
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="segment")
        self._room = threading.BoundedSemaphore(workers + most_waiting)

    def submit(self, image: Pixels) -> Future[Result]:
        """Return the future of an image's result at once; raises Busy where there is no room.

        The image must not be changed before that is done.
        """
        if not self._room.acquire(blocking=False):
            raise Busy
        try:
            future = self._pool.submit(self._cascade, image)
        except RuntimeError:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Finish what was accepted and end the threads; the cascade is the caller's to close."""
        self._pool.shutdown()


@dataclass
class Tally:
    """What a producer saw: milliseconds from submit to mask, how often it was refused or failed."""

    ms: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0


def produce(service: Service, images: Sequence[Pixels], stop: threading.Event) -> Tally:
    """Bring one image, and more in turn until ``stop``; one that is refused is dropped."""
    tally = Tally()
    for image in cycle(images):
        started = time.perf_counter()
        try:
            service.submit(image).result()
        except Busy:
            tally.refused += 1
            stop.wait(0.001)
        except FoveateError:
            tally.failed += 1
        else:
            tally.ms.append(1000 * (time.perf_counter() - started))
        if stop.is_set():
            break
    return tally


def serve(
    service: Service, images: Sequence[Pixels], producers: int, seconds: float
) -> list[Tally]:
    """Return what each of so many producers saw in so many seconds, or until Ctrl-C."""
    stop = threading.Event()
    with ThreadPoolExecutor(producers, thread_name_prefix="producer") as pool:
        started = [pool.submit(produce, service, images, stop) for _ in range(producers)]
        with suppress(KeyboardInterrupt):
            stop.wait(seconds)
        stop.set()
    return [producer.result() for producer in started]


def read(path: Path, channels: str) -> Pixels:
    """Return the pixels of a file in a bundle's channels; the error names it."""
    try:
        return read_image(path, channels=channels)
    except FoveateError as error:
        raise click.UsageError(str(error)) from None


@click.command()
@click.argument("bundle", type=Path)
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--producers", type=click.IntRange(1), default=4, show_default=True)
@click.option("--seconds", type=click.FloatRange(0), default=5.0, show_default=True)
def main(bundle: Path, images: tuple[Path, ...], producers: int, seconds: float) -> None:
    """Let some producers bring IMAGES to one cascade of BUNDLE for some seconds; say how it went.

    \b
    Example:
      python service.py lung.bundle scans/*.png --producers 8
    """
    try:
        with Cascade.load(bundle, threads=1) as cascade, Service(cascade) as service:
            pixels = [read(path, cascade.spec.channels) for path in images]
            tallies = serve(service, pixels, producers, seconds)
    except FoveateError as error:
        raise click.UsageError(str(error)) from None
    for number, tally in enumerate(tallies):
        p50, p99 = np.percentile(tally.ms or [0.0], (50, 99))
        click.echo(
            f"producer {number}: {len(tally.ms)} masks, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"{tally.refused} refused, {tally.failed} failed"
        )


if __name__ == "__main__":
    main()
