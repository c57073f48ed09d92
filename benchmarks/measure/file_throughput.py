"""Images per second from file to file, next to the ceiling that the stages set on these cores.

The stages share the cores, so the ceiling is cores / (core-seconds of an image over decode,
engine and encode), each measured alone with all cores busy, in the same rounds as the whole.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate.benchmarks.measure.baseline import WithBaseline
from foveate.benchmarks.measure.throughput import (
    Worker,
    open_workers,
    pooled_rate,
    raw_workers,
    saturated_rate,
)
from foveate.benchmarks.measure.timing import interleaved, ratio
from foveate.benchmarks.schema.result_files import FILE_STAGES
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import DataError
from foveate.runtime.io.images import read_image
from foveate.runtime.io.inputs import Item
from foveate.runtime.io.overlay import write_picture
from foveate.runtime.io.png import write_mask
from foveate.runtime.result import Mask
from foveate.runtime.segment.concurrency import WorkerOptions, choose_concurrency
from foveate.runtime.segment.journal import Journal
from foveate.runtime.segment.pipeline import SegmentJob, segment_files

ROUNDS = 3
WHOLE = "files"


@dataclass(frozen=True)
class Round:
    """What one round runs: items to segment, the mask of each, and the bare engine's workers."""

    cascade: Cascade
    items: Sequence[Item]
    masks: Sequence[Mask]
    workers: Sequence[Worker]
    out: Path
    cores: int
    seconds: float


def file_throughput(
    own: WithBaseline,
    paths: Sequence[Path],
    best: Mapping[str, Any],
    cores: int,
    seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return the rates of image files of one size, as JSON values.

    ``best`` is the row of the grid whose batch and workers the engine's stage runs with. Files
    are read again and again until they are ``seconds`` of work for the engine; masks go to the
    system's temporary folder.
    """
    count = max(len(paths), math.ceil(seconds * best["raw_images_per_second"]))
    items = [Item(paths[i % len(paths)], str(i)) for i in range(count)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="foveate-"))
        cascade = stack.enter_context(own.cascade(1))  # every worker has a core
        channels = cascade.spec.channels
        images = [read_image(path, channels=channels) for path in paths]
        pool = stack.enter_context(open_workers(own, best["workers"], cores))
        found = [cascade(image).mask for image in images]
        masks = [found[i % len(found)] for i in range(count)]
        workers = raw_workers(pool, images, best["batch"])
        run = Round(cascade, items, masks, workers, Path(folder), cores, seconds)
        rates = _rates(run, progress)
    height, width = images[0].shape[:2]
    return {
        "variant": own.name,
        "batch": best["batch"],
        "images": count,
        "height": height,
        "width": width,
        **summary(rates, cores),
    }


def summary(rates: Mapping[str, Sequence[float]], cores: int) -> dict[str, Any]:
    """Return rate, ceiling and bottleneck from images per second of stages and whole by round."""
    core_ms = {
        stage: float(np.median(1000 * cores / np.array(rates[stage]))) for stage in FILE_STAGES
    }
    ceilings = 1 / np.sum([1 / np.array(rates[stage]) for stage in FILE_STAGES], axis=0)
    bottleneck = max(core_ms, key=lambda stage: core_ms[stage])
    return {
        "images_per_second": float(np.median(rates[WHOLE])),
        "ceiling_images_per_second": float(np.median(ceilings)),
        "share": asdict(ratio(rates[WHOLE], ceilings.tolist())),
        "stages": {
            stage: {
                "core_ms": core_ms[stage],
                "images_per_second": float(np.median(rates[stage])),
            }
            for stage in FILE_STAGES
        },
        "bottleneck": bottleneck,
        "bottleneck_share": core_ms[bottleneck] / sum(core_ms.values()),
    }


def write_images(images: Sequence[Pixels], folder: Path) -> list[Path]:
    """Write images as PNG, those of neither 1 nor 3 channels as NPY; return the paths, in order."""
    paths = []
    for number, image in enumerate(images):
        path = folder / f"image_{number:04d}.png"
        if image.ndim == 3 and image.shape[2] != 3:
            path = path.with_suffix(".npy")
            np.save(path, image, allow_pickle=False)
        else:
            write_picture(path, image[..., ::-1] if image.ndim == 3 else image)
        paths.append(path)
    return paths


def _rates(run: Round, progress: Callable[[int, int], None]) -> dict[str, list[float]]:
    """Return images per second of every stage alone and of the whole, round by round."""
    channels = run.cascade.spec.channels

    def read(item: Item) -> None:
        read_image(item.path, item.page, channels=channels)

    measures: dict[str, Callable[[], float]] = {
        "decode": lambda: pooled_rate(read, run.items, run.cores),
        "engine": lambda: saturated_rate(run.workers, run.seconds),
        "encode": partial(_encode_rate, run),
        WHOLE: partial(_whole_rate, run),
    }
    saturated_rate(run.workers, run.seconds / 2)  # warm-up
    rates: dict[str, list[float]] = {name: [] for name in measures}

    def measure(name: str, number: int) -> None:
        rates[name].append(measures[name]())

    turns = {name: partial(measure, name) for name in measures}
    interleaved(turns, ROUNDS, progress=progress)
    return rates


def _encode_rate(run: Round) -> float:
    classes = len(run.cascade.spec.classes)

    def write(entry: tuple[Item, Mask]) -> None:
        write_mask(run.out / f"{entry[0].name}.png", entry[1], classes)

    return pooled_rate(write, list(zip(run.items, run.masks, strict=True)), run.cores)


def _whole_rate(run: Round) -> float:
    plan = choose_concurrency(run.cascade, WorkerOptions(batch=1), len(run.items), run.cores)
    report = segment_files(run.cascade, SegmentJob(run.items, Journal(run.out)), plan)
    if report.failures:
        raise DataError(f"{report.failures[0].input}: {report.failures[0].reason}")
    return report.written / report.seconds
