"""Measure bundles on one data set: Dice against multiply-adds and time, as a table and a picture.

Run from a checkout: ``python benchmarks/scripts/dice_against_cost.py DATA LIST OUT BUNDLE...``
writes OUT.json and OUT.png. Bundles run in ONNX Runtime fp32, interleaved; Dice is that of
``foveate evaluate``: the mean over images where mask or truth has the class, then over classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foveate.benchmarks.measure.roofline import multiply_adds
from foveate.benchmarks.measure.timing import interleaved
from foveate.benchmarks.schema.machine import disturbances, machine_facts, versions
from foveate.runtime import Cascade
from foveate.runtime.agreement import dice
from foveate.train.data.dataset import DataSet, load_dataset, read_stems

ROUNDS = 30


def measure(data: DataSet, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return for each bundle its Dice, multiply-adds of a mean image, and times of a call."""
    rows = []
    images = {stem: data.image(stem) for stem in data.stems}
    shapes = [image.shape for image in images.values()]
    with ExitStack() as stack:
        cascades = {
            path.name.removesuffix(".bundle"): stack.enter_context(
                Cascade.load(path, "onnxruntime", "fp32")
            )
            for path in paths
        }
        some = list(images.values())[:ROUNDS]
        times = interleaved(
            {
                name: lambda number, cascade=cascade: cascade(some[number % len(some)])
                for name, cascade in cascades.items()
            },
            ROUNDS + 3,
        )
        for name, cascade in cascades.items():
            graph = cascade.bundle.graph("fp32")
            costs = {shape: sum(multiply_adds(graph, 1, *shape).values()) for shape in set(shapes)}
            masks = {stem: cascade(image).mask for stem, image in images.items()}
            scores = [
                [dice(mask, data.mask(stem), label) for stem, mask in masks.items()]
                for label in range(1, data.classes + 1)
            ]
            rows.append(
                {
                    "name": name,
                    "dice": float(np.mean([np.nanmean(each) for each in scores])),
                    "multiply_adds": float(np.mean([costs[shape] for shape in shapes])),
                    "median_ms": 1000 * median(times[name][3:]),
                    "weights_mb": round(len(graph) / 1e6, 2),
                }
            )
    return rows


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
    main(*map(Path, sys.argv[1:4]), [Path(text) for text in sys.argv[4:]])
