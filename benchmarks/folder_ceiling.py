"""A folder of images against the ceiling that its stages set, and against a bare OpenCV loop.

``python -m foveate.benchmarks.folder_ceiling BUNDLE IMAGES`` takes the images in shares. In every
round the four stand beside each other on the same share, in an order drawn anew: decoding alone,
the bare engine alone (sessions of one thread, nothing of ours around them), encoding alone, each
with all cores busy, the whole pipeline, and a loop of OpenCV that reads the images and writes
masks. The ceiling is cores / (core-seconds of an image over decode, engine and encode).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from foveate.benchmarks.bare import BareCall, bare_engine, ready
from foveate.benchmarks.file_throughput import STAGES, WHOLE, summary
from foveate.benchmarks.machine import disturbances, machine_facts, producer, versions
from foveate.benchmarks.saturation import pooled_rate
from foveate.benchmarks.timing import interleaved, ratio
from foveate.benchmarks.variants import Variant
from foveate.runtime.cascade import Cascade
from foveate.runtime.engines.base import Pixels, available_cores
from foveate.runtime.errors import DataError
from foveate.runtime.image_files import read_image
from foveate.runtime.inputs import Item, find_items
from foveate.runtime.journal import Journal
from foveate.runtime.mask_files import write_mask
from foveate.runtime.pipeline import Job, Report, segment_files
from foveate.runtime.result import Mask
from foveate.runtime.work_plan import Wish, plan_for

OPENCV = "opencv"
_BILEVEL = (cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True)
class Bench:
    """What every round runs with: the cascade, one bare engine a core, and a folder for masks."""

    cascade: Cascade
    bare: Sequence[BareCall]
    out: Path
    cores: int


@dataclass(frozen=True)
class Share:
    """Some of the images, decoded, with the masks that the cascade gives them."""

    items: Sequence[Item]
    images: Sequence[Pixels]
    masks: Sequence[Mask]


def folder_ceiling(
    bundle: Path,
    items: Sequence[Item],
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return rate, ceiling and shares of a folder's pipeline on ONNX Runtime fp32, as JSON values.

    ``beside_engine`` compares what the pipeline spends beside the engine with the OpenCV loop: the
    images a second that its cores would do without the engine, over those of the loop, both by
    core time, of which other work on the machine takes nothing.
    """
    cores, variant = available_cores(), Variant("onnxruntime", "fp32")
    rates: dict[str, list[float]] = {name: [] for name in (*STAGES, WHOLE, OPENCV)}
    beside: list[float] = []
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foveate-")))
        cascade = stack.enter_context(Cascade.load(bundle, *_names(variant), threads=1))
        bare = [stack.enter_context(bare_engine(cascade.bundle, variant, 1)) for _ in range(cores)]
        bench = Bench(cascade, bare, out, cores)
        for number in range(rounds):
            share = _share(cascade, items[number::rounds], cores)
            measures = _measures(bench, share, beside)
            turns = {name: partial(_add, rates[name], call) for name, call in measures.items()}
            interleaved(turns, 1)
            progress(number + 1, rounds)
    return {
        "images": len(items),
        **summary(rates, cores),
        "opencv_images_per_second": float(np.median(rates[OPENCV])),
        "beside_engine": asdict(ratio(beside, rates[OPENCV])),
        "rounds": rounds,
    }


def _names(variant: Variant) -> tuple[str, str]:
    return variant.engine, variant.precision


def _add(found: list[float], call: Callable[[], float], number: int) -> None:
    found.append(call())


def _share(cascade: Cascade, items: Sequence[Item], cores: int) -> Share:
    images = [read_image(item.path, item.page) for item in items]
    with ThreadPoolExecutor(cores, "foveate-worker") as pool:
        masks = [result.mask for result in pool.map(cascade, images)]
    return Share(items, images, masks)


def _measures(bench: Bench, share: Share, beside: list[float]) -> dict[str, Callable[[], float]]:
    cores, spec = bench.cores, bench.cascade.spec
    numbered = list(enumerate(share.images))

    def engine(entry: tuple[int, Pixels]) -> object:
        return bench.bare[entry[0] % cores](ready([entry[1]], spec.input_type))

    def encode(entry: tuple[Item, Mask]) -> None:
        path = bench.out / f"{entry[0].name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, entry[1], len(spec.classes))

    def opencv(entry: tuple[int, Item]) -> None:
        cv2.imread(str(entry[1].path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        mask = share.masks[entry[0]]
        cv2.imwrite(str(bench.out / "opencv.png"), mask * np.uint8(255), _BILEVEL)

    return {
        "decode": lambda: pooled_rate(_read, share.items, cores),
        "engine": lambda: pooled_rate(engine, numbered, cores),
        "encode": lambda: pooled_rate(
            encode, list(zip(share.items, share.masks, strict=True)), cores
        ),
        WHOLE: lambda: _whole(bench, share, beside),
        OPENCV: lambda: _opencv_rate(bench, opencv, share),
    }


def _opencv_rate(bench: Bench, task: Callable[[tuple[int, Item]], None], share: Share) -> float:
    """Return images per second by the core time of the loop, as ``beside_engine`` is taken."""
    before = _cpu_seconds()
    pooled_rate(task, list(enumerate(share.items)), bench.cores)
    return bench.cores * len(share.items) / (_cpu_seconds() - before)


def _read(item: Item) -> None:
    read_image(item.path, item.page)


def _whole(bench: Bench, share: Share, beside: list[float]) -> float:
    """Return the pipeline's rate; what it spent beside the engine is added to ``beside``."""
    plan = plan_for(bench.cascade, Wish(batch=1), len(share.items), bench.cores)
    before = _cpu_seconds()
    report = segment_files(bench.cascade, Job(share.items, Journal(bench.out)), plan)
    if report.failures:
        raise DataError(f"{report.failures[0].input}: {report.failures[0].reason}")
    other_s = _cpu_seconds() - before - _engine_seconds(report)
    beside.append(bench.cores * report.written / other_s)
    return report.images_per_second


def _engine_seconds(report: Report) -> float:
    return float(report.stages["core_ms"]["engine"]) * report.written / 1000


def _cpu_seconds() -> float:
    """Return the core-seconds of this process, those of the system for it among them."""
    spent = os.times()
    return spent.user + spent.system


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("images", nargs=-1, required=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--most", type=click.IntRange(1), help="Take so many images, evenly spread.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures as JSON.")
def main(
    bundle: Path, images: tuple[str, ...], rounds: int, most: int | None, out: Path | None
) -> None:
    """Measure a folder against its ceiling."""
    cv2.setNumThreads(1)
    items = find_items(images, Path("nowhere"))
    items = items[:: max(1, len(items) // most)][:most] if most else items
    warnings = disturbances()
    found = folder_ceiling(bundle, items, rounds, lambda done, total: click.echo(f"{done}/{total}"))
    result = {
        "bundle": bundle.resolve().name,
        "machine": machine_facts(),
        "versions": versions(),
        "foveate": producer(),
        "results": found,
        "warnings": warnings,
    }
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    share, beside = found["share"], found["beside_engine"]
    click.echo(
        f"{found['images']} images, {found['images_per_second']:.1f}/s of a ceiling of "
        f"{found['ceiling_images_per_second']:.1f}/s: {share['median']:.3f} "
        f"({share['low']:.3f} to {share['high']:.3f}); {found['bottleneck']}-bound, core ms "
        + ", ".join(f"{name} {row['core_ms']:.2f}" for name, row in found["stages"].items())
    )
    click.echo(
        f"beside the engine {beside['median']:.3f} of an OpenCV loop's "
        f"{found['opencv_images_per_second']:.0f}/s ({beside['low']:.3f} to {beside['high']:.3f})"
    )


if __name__ == "__main__":
    main()
