"""What runs of a bundle take beyond the loaded graph, images and masks: where budgets come from.

``python -m foveate.benchmarks.working_memory BUNDLE --size 1x4000x4000``, in a process of its own
for each line of a table, for an engine keeps what it once took. Linux only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from foveate.runtime.cascade import Cascade
from foveate.runtime.engines.base import Pixels

SEED = 0
RUNS = 2
"""ONNX Runtime takes its memory in the second run of a size."""


def resident_bytes(name: str) -> int:
    """Return VmRSS or VmHWM of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(name + ":")[2].split()[0]) * 1024


def taken_bytes(work: Callable[[], Any], own_bytes: int) -> int:
    """Return how far the resident size rose at most during work, less what is its caller's."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_bytes("VmRSS")
    work()
    return resident_bytes("VmHWM") - before - own_bytes


def image(shape: tuple[int, int], input_type: str) -> Pixels:
    """Return an image with a bright part; every page of it is there."""
    made: Pixels = np.full(shape, 7, input_type)
    made[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = 200
    return made


def of_sizes(cascade: Cascade, sizes: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Return what each call of (N, H, W) took over what those before it had left."""
    found = []
    for count, height, width in sizes:
        images = [image((height, width), cascade.spec.input_type) for _ in range(count)]
        taken = taken_bytes(
            lambda images=images: [cascade.together(images) for _ in range(RUNS)],  # type: ignore[misc]
            count * height * width,
        )
        found.append(_line(f"{count}x{height}x{width}", taken, count * height * width))
    return found


def of_random_sizes(cascade: Cascade, count: int, side: int, threads: int) -> dict[str, Any]:
    """Return what images of random sizes took together, by the pixels of the largest."""
    sides = np.random.default_rng(SEED).integers(side // 10, side, (count, 2))
    images = [image((int(h), int(w)), cascade.spec.input_type) for h, w in sides]
    largest = max(item.size for item in images)
    with ThreadPoolExecutor(threads) as pool:
        taken = taken_bytes(
            lambda: [None for result in pool.map(cascade, images)], threads * largest
        )
    return _line(f"{count} random sizes, {threads} threads", taken, threads * largest)


def _line(what: str, taken: int, pixels: int) -> dict[str, Any]:
    return {"call": what, "mb": round(taken / 1e6, 1), "bytes_a_pixel": round(taken / pixels, 2)}


def _sizes(texts: Sequence[str]) -> list[tuple[int, int, int]]:
    found = []
    for text in texts:
        count, height, width = map(int, text.split("x"))
        found.append((count, height, width))
    return found


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--engine", default="onnxruntime", show_default=True)
@click.option("--size", "sizes", multiple=True, help="NxHxW, may be given again.")
@click.option("--random", "count", type=int, default=0, help="So many images of random sizes.")
@click.option("--side", type=int, default=2500, show_default=True, help="Their longest side.")
@click.option("--threads", type=int, default=1, show_default=True, help="That call at once.")
def main(bundle: Path, engine: str, sizes: list[str], count: int, side: int, threads: int) -> None:
    """Say what runs take, one JSON object a line."""
    with Cascade.load(bundle, engine, threads=1) as cascade:
        for line in of_sizes(cascade, _sizes(sizes)):
            click.echo(json.dumps(line))
        if count:
            click.echo(json.dumps(of_random_sizes(cascade, count, side, threads)))


if __name__ == "__main__":
    main()
