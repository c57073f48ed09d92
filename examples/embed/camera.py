"""Segment a camera, or a video played as one, at a fixed rate: the policy is in README.md."""

import queue
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import click
import cv2
import numpy as np

from foveate.runtime import Cascade, FoveateError, write_mask


class Camera(Thread):
    """Yields (number, arrival, frame), the newest; ``dropped`` counts those nobody took in time."""

    def __init__(self, source: str, rate: float) -> None:
        super().__init__()
        self.live, self.step, self.dropped, self.ended = source.isdigit(), 1 / rate, 0, Event()
        self.capture = cv2.VideoCapture(int(source) if self.live else source)
        if not self.capture.isOpened():
            raise click.UsageError(f"{source} cannot be opened: no video, no device's number")
        self.waiting: queue.Queue[tuple[int, float, np.ndarray]] = queue.Queue(1)

    def run(self) -> None:
        number, due = 0, perf_counter()
        while not self.ended.is_set() and self.capture.grab():
            number, early = number + 1, due - perf_counter()
            if self.ended.wait(0 if self.live else max(0, early)) or (self.live and early > 0):
                continue  # the end, or a device that is faster than the rate
            due = max(due, perf_counter() - self.step) + self.step
            with suppress(queue.Empty):
                self.waiting.get_nowait()
                self.dropped += 1
            self.waiting.put((number, perf_counter(), self.capture.retrieve()[1]))
        self.capture.release()

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        while self.is_alive() or not self.waiting.empty():
            with suppress(queue.Empty):
                yield self.waiting.get(timeout=0.1)


@click.command()
@click.argument("bundle")
@click.argument("source")
@click.option("--rate", type=click.FloatRange(0.01), default=25, help="Frames a second.")
@click.option("--out", type=click.Path(True, False, path_type=Path), help="Folder of the masks.")
@click.option("--show", is_flag=True, help="A window with the frames; needs opencv-python.")
def main(bundle: str, source: str, rate: float, out: Path | None, show: bool) -> None:
    """Segment SOURCE, a video file or a device's number, with BUNDLE, until Ctrl-C or its end."""
    camera, ms = Camera(source, rate), np.zeros(0)
    try:
        with Cascade.load(bundle, latency=True) as cascade, suppress(KeyboardInterrupt):
            cascade.warm_up([(int(camera.capture.get(4)), int(camera.capture.get(3)))])
            code = cv2.COLOR_BGR2RGB if cascade.spec.channels == "rgb" else cv2.COLOR_BGR2GRAY
            camera.start()
            for number, arrived, frame in camera:
                mask = cascade(np.asarray(cv2.cvtColor(frame, code), np.uint8)).mask
                ms = np.append(ms[-999:], 1000 * (perf_counter() - arrived))
                p50, p99 = np.percentile(ms, (50, 99))
                print(end=f"\r{camera.dropped} dropped, p50 {p50:.1f} ms, p99 {p99:.1f} ms ")
                if out:
                    write_mask(out / f"{number:06}.png", mask, len(cascade.spec.classes))
                if show:
                    cv2.imshow(source, frame >> (mask == 0)[..., None])  # the background is dimmed
                    cv2.waitKey(1)
        print()
    except (FoveateError, cv2.error) as error:
        raise click.UsageError(str(error)) from None
    finally:
        camera.ended.set()


if __name__ == "__main__":
    main()
