"""What training on crops of very large images takes: memory, and time for a view.

``python -m foveate.benchmarks.large_images`` draws three images of 12,000 x 12,000 pixels, reads
them as training does, takes views of stage 2 one by one, and trains a small cascade for an epoch of
32 views a stage, all in this process. Peaks are of what cannot be given back (anonymous memory) and
of all that is resident; mapped pages of the images are in the second only, and the kernel takes
them when it wants.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import cv2
import numpy as np

from foveate.runtime.spec import CascadeSpec, Region, Size
from foveate.train.augment import augmentation
from foveate.train.dataset import DataSet, load_dataset
from foveate.train.fit import fit
from foveate.train.images.full_images import FullImages
from foveate.train.record import Job
from foveate.train.settings import Settings
from foveate.train.views import RegionCrops, Regions, StemSampler, whole_views

PAUSE_S = 0.01
IMAGES, VIEWS = 3, 12
SIDE_PX = 256


class Peaks:
    """The greatest anonymous and resident memory of this process so far, in bytes, on Linux."""

    def __init__(self) -> None:
        self.anonymous = self.resident = 0

    def look(self) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        parts = {name: int(value) * 1024 for name, value in found.items() if name != "RssShmem"}
        self.anonymous = max(self.anonymous, parts["RssAnon"])
        self.resident = max(self.resident, sum(parts.values()))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every hundredth of a second."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(PAUSE_S):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def draw_images(root: Path, side: int) -> None:
    """Write images of grain and slow light with a bright ellipse each, and their masks."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        light = rng.integers(60, 120, (8, 8)).astype(np.uint8)
        image = cv2.resize(light, (side, side), interpolation=cv2.INTER_LINEAR)
        image += rng.integers(0, 24, image.shape, dtype=np.uint8)
        mask = np.zeros(image.shape, np.uint8)
        centre = tuple(int(value) for value in rng.integers(side // 4, side * 3 // 4, 2))
        cv2.ellipse(mask, centre, (side // 24, side // 16), 0, 0, 360, 255, -1)
        image[mask > 0] += 60
        cv2.imwrite(str(root / "images" / f"{number}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{number}.png"), mask)


def view_seconds(dataset: DataSet, cache_gb: float) -> list[float]:
    """Return the seconds of each of VIEWS stage-2 views: boxes of 1/12 to the whole of a side."""
    size = Size(SIDE_PX, SIDE_PX)
    spec = CascadeSpec("uint8", size, size, ("background", "target"), region=Region())
    full = FullImages(dataset, cache_gb)
    views = whole_views(full, dataset.stems, size, lambda done, total: None)
    side = float(next(iter(views.values())).width)
    spans = [side / 12, side / 6, side / 2, side]
    boxes = {stem: [(0.0, 0.0, span, span) for span in spans] for stem in views}
    hints = {
        stem: [view.target()[0].astype(np.float16)] * len(spans) for stem, view in views.items()
    }
    sampler, augment = StemSampler(dataset, dataset.stems), augmentation(Settings())
    crops = RegionCrops(full, views, Regions(hints, boxes, {}), sampler, spec, augment, 0)
    taken = []
    for number in range(VIEWS):
        started = time.perf_counter()
        crops[number]
        taken.append(time.perf_counter() - started)
    return taken


@click.command()
@click.option("--side", default=12_000, show_default=True, help="Pixels of a side.")
@click.option("--cache-gb", default=1e-3, show_default=True, help="As the setting; 0: chosen.")
def main(side: int, cache_gb: float) -> None:
    """Measure training on crops of large images."""
    peaks = Peaks()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if os.fork() == 0:  # drawing them is not what is measured
            draw_images(root, side)
            os._exit(0)
        os.wait()
        peaks.look()
        click.echo(f"at the start: {peaks.anonymous / 1e6:.0f} MB anonymous")
        with peaks.watched():
            started = time.perf_counter()
            dataset = load_dataset(root)
            click.echo(f"checking the data: {time.perf_counter() - started:.1f} s")
            started = time.perf_counter()
            taken = view_seconds(dataset, cache_gb)
            click.echo(f"first looks and {VIEWS} views: {time.perf_counter() - started:.1f} s")
            middle, worst = statistics.median(taken), max(taken)
            click.echo(f"a view: median {middle * 1e3:.0f} ms, longest {worst * 1e3:.0f} ms")
            _report(peaks, "after the views")
            settings = Settings(
                width=4,
                depth=2,
                batch_size=1,
                num_epochs=1,
                num_workers=0,
                hint_folds=0,
                cache_gb=cache_gb,
            )
            job = Job(dataset, settings, root / "run", "both", False, click.echo, _silent)
            started = time.perf_counter()
            fit(job)
            click.echo(f"training, an epoch a stage: {time.perf_counter() - started:.1f} s")
        _report(peaks, "after the training")


def _silent(label: str, done: int, total: int) -> None:
    pass


def _report(peaks: Peaks, when: str) -> None:
    click.echo(
        f"peak {when}: {peaks.anonymous / 1e6:.0f} MB anonymous, "
        f"{peaks.resident / 1e6:.0f} MB resident"
    )


if __name__ == "__main__":
    main()
