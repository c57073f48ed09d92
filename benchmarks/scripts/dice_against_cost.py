"""Measure bundles on one data set: Dice against multiply-adds and time, as a table and a picture.

Run from a checkout: ``python benchmarks/scripts/dice_against_cost.py DATA LIST OUT BUNDLE...``
writes OUT.json and OUT.png. Bundles run in ONNX Runtime fp32, interleaved; Dice is that of
``foveate evaluate``: the mean over images where mask or truth has the class, then over classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foveate.benchmarks.measure.roofline import multiply_adds
from foveate.benchmarks.measure.timing import interleaved
from foveate.benchmarks.schema.machine import disturbances, machine_facts, versions
from foveate.runtime import Cascade, Result
from foveate.runtime.agreement import dice
from foveate.runtime.arrays import Pixels
from foveate.train.data.dataset import DataSet, load_dataset, read_stems

WARM_UP, ROUNDS = 3, 30


def measure(data: DataSet, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return for each bundle its Dice, multiply-adds of a mean image, and times of a call."""
    images = {stem: data.image(stem) for stem in data.stems}
    timed = list(images.values())[:ROUNDS]
    with ExitStack() as stack:
        loaded = [stack.enter_context(Cascade.load(path, "onnxruntime", "fp32")) for path in paths]
        names = [path.resolve().name.removesuffix(".bundle") for path in paths]
        calls = {
            name: partial(_call, cascade, timed)
            for name, cascade in zip(names, loaded, strict=True)
        }
        times = interleaved(calls, WARM_UP + ROUNDS)
        return [
            {
                "name": name,
                "dice": _dice(cascade, data, images),
                "multiply_adds": _multiply_adds(cascade, [image.shape for image in timed]),
                "median_ms": 1000 * median(times[name][WARM_UP:]),
            }
            for name, cascade in zip(names, loaded, strict=True)
        ]


def _call(cascade: Cascade, images: Sequence[Pixels], number: int) -> Result:
    return cascade(images[number % len(images)])


def _dice(cascade: Cascade, data: DataSet, images: Mapping[str, Pixels]) -> float:
    masks = {stem: cascade(image).mask for stem, image in images.items()}
    classes = [
        np.nanmean([dice(mask, data.mask(stem), label) for stem, mask in masks.items()])
        for label in range(1, data.classes + 1)
    ]
    return float(np.mean(classes))


def _multiply_adds(cascade: Cascade, shapes: Sequence[tuple[int, ...]]) -> float:
    graph = cascade.bundle.graph("fp32")
    counts = {
        (height, width): sum(multiply_adds(graph, 1, height, width).values())
        for height, width in set(shapes)
    }
    return float(np.mean([counts[height, width] for height, width in shapes]))


def draw(rows: Sequence[dict[str, Any]], title: str, out: Path) -> None:
    """Draw Dice over multiply-adds, each point with its name and time."""
    figure = Figure(figsize=(6.4, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in rows:
        axes.plot(row["multiply_adds"] / 1e9, row["dice"], "o", ms=9)
        axes.annotate(
            f"{row['name']}, {row['median_ms']:.0f} ms", (row["multiply_adds"] / 1e9, row["dice"]),
            xytext=(8, 6), textcoords="offset points", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(0.25, 0.15)
    axes.set_xlabel("multiply-adds of one image, 10^9")
    axes.set_ylabel("Dice")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(out, metadata={"Software": None})


def main(root: Path, stem_list: Path, out: Path, paths: Sequence[Path]) -> None:
    """Measure, write and print."""
    warnings = disturbances()
    rows = measure(load_dataset(root, stems=read_stems(stem_list)), paths)
    title = f"{root.resolve().name}, {len(read_stems(stem_list))} images"
    facts = {"machine": machine_facts(), "versions": versions(), "warnings": warnings}
    out.with_suffix(".json").write_text(json.dumps({"data": title, "rows": rows, **facts}) + "\n")
    draw(rows, title, out.with_suffix(".png"))
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    data, names, out, *bundles = map(Path, sys.argv[1:])
    main(data, names, out, bundles)
