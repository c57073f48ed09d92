"""The plots of the report, each as PNG: Dice against rate, latencies, stages, offered load."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from foveate.benchmarks.report import canvas
from foveate.benchmarks.report.label_places import Box, nearest, places
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_shapes import FILE_STAGES, STAGES

Row = Mapping[str, Any]
MARKER = 11.0
"""Side of a point in points; half of it in pixels is MARKER."""
LABEL_COLUMNS = 17
CUT = 2.5
"""The axis of what each stage could do alone ends at so many ceilings."""
DICE_SPAN = 0.02
"""The Dice axis shows at least this much, so that noise does not look like a lead."""


def dice_against_rate(methods: Sequence[Row], batch: int = 1) -> bytes | None:
    """Return each method's Dice over its images/s; None when no method has both."""
    here = [item for item in methods if item["here"] and item["dice"] is not None]
    shown = [item for item in here if item["ms"]["median_ms"] > 0]
    if not shown:
        return None
    way = "one at a time" if batch == 1 else f"{batch} a call"
    axes = canvas.new_axes("Dice against speed", f"images/s ({way})", "Dice")
    rates = [1000 * batch / item["ms"]["median_ms"] for item in shown]
    if max(rates) > 8 * min(rates):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    for item, rate in zip(shown, rates, strict=True):
        ours = item["key"] == "foveate"
        axes.plot(
            rate, item["dice"], "D" if ours else "o", ms=MARKER + 2 if ours else MARKER - 2,
            color=canvas.OURS if ours else canvas.OTHER, zorder=4 if ours else 3,
            markerfacecolor="none" if ours else canvas.OTHER, markeredgewidth=3 if ours else 0,
        )  # fmt: skip
    _make_room(axes, rates, [item["dice"] for item in shown])
    _label(axes, shown, rates)
    return canvas.png(axes)


def _make_room(axes: Axes, rates: Sequence[float], dices: Sequence[float]) -> None:
    low, high = min(dices), max(dices)
    span = max(high - low, DICE_SPAN)
    axes.set_ylim((low + high) / 2 - 0.9 * span, (low + high) / 2 + 0.9 * span)
    if axes.get_xscale() == "log":
        axes.set_xlim(min(rates) / 1.6, max(rates) * 1.6)
    else:
        edge = 0.3 * max(max(rates) - min(rates), 0.2 * max(rates))
        axes.set_xlim(max(0.0, min(rates) - edge), max(rates) + edge)


def _label(axes: Axes, shown: Sequence[Row], rates: Sequence[float]) -> None:
    """Write each method's name where it hides nothing, with a line to its point."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    texts = [
        axes.text(
            0, 0, textwrap.fill(item["name"], LABEL_COLUMNS), fontsize=canvas.SMALL, ha="center",
            va="center", transform=None, parse_math=False, linespacing=1.05, zorder=4,
            color=canvas.OURS if item["key"] == "foveate" else canvas.INK,
        )
        for item in shown
    ]  # fmt: skip
    extents = [text.get_window_extent() for text in texts]
    values = np.column_stack([rates, [item["dice"] for item in shown]])
    points = [(float(x), float(y)) for x, y in axes.transData.transform(values)]
    frame = Box(*axes.bbox.extents)
    boxes = places(points, [(e.width + 4, e.height + 4) for e in extents], frame, MARKER)
    for text, box, point in zip(texts, boxes, points, strict=True):
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        text.set_position(middle)
        near = nearest(box, point)
        axes.plot(
            [point[0], near[0]], [point[1], near[1]], color=canvas.DIM, lw=1, transform=None,
            zorder=2, scalex=False, scaley=False,
        )  # fmt: skip


def latency_distribution(row: Row) -> bytes:
    """Return which share of the calls, and of the bare engine's, took at most so long."""
    title = f"{row['variant']}, batch {row['batch']}, {units.size(row)}"
    axes = canvas.new_axes(title, "latency, ms", "share of runs")
    sets = (("raw", "bare engine", canvas.OTHER, "--"), ("call", "foveate", canvas.OURS, "-"))
    for key, name, colour, style in sets:
        samples = np.sort(np.asarray(row[key]["samples_ms"], float))
        shares = np.arange(1, len(samples) + 1) / len(samples)
        p50, p99 = (row[key][figure] for figure in ("median_ms", "p99_ms"))
        label = f"{name}: p50 {units.figure(p50)}, p99 {units.figure(p99)}"
        axes.step(samples, shares, where="post", color=colour, lw=2.5, ls=style, label=label)
        axes.plot([p50, p99], [0.5, 0.99], "D", color=colour, ms=8, zorder=3)
    ends = [row[key]["p99_ms"] for key, *_ in sets]
    starts = [row[key]["min_ms"] for key, *_ in sets]
    edge = 0.06 * (max(ends) - min(starts)) or 1.0
    axes.set_xlim(min(starts) - edge, max(ends) + edge)
    axes.set_ylim(0, 1.03)
    axes.locator_params(axis="x", nbins=5)
    canvas.add_legend(axes)
    return canvas.png(axes)


def stage_bars(row: Row) -> bytes:
    """Return what the stages take of the time from file to file, the whole as a line."""
    whole = row["whole"]["median_ms"]
    title = f"Stages: {row['variant']}, batch {row['batch']}, {units.size(row)}"
    values = {name: row["stages"][name]["median_ms"] for name in STAGES}
    return _bars(title, "ms", values, {}, (f"whole {units.figure(whole)} ms", whole))


def file_stages(files: Row) -> bytes:
    """Return how many images a second each stage could do alone, and what they reach together."""
    rates = {name: files["stages"][name]["images_per_second"] for name in FILE_STAGES}
    notes = {
        name: f"{units.figure(files['stages'][name]['core_ms'])} core-ms" for name in FILE_STAGES
    }
    ceiling = files["ceiling_images_per_second"]
    values = {**rates, "reached": files["images_per_second"]}
    line = (f"ceiling {units.figure(ceiling)} images/s", ceiling)
    return _bars("Each stage alone, and together", "images/s", values, notes, line, CUT * ceiling)


def _bars(
    title: str, across: str, values: Mapping[str, float], notes: Mapping[str, str],
    line: tuple[str, float], most: float = float("inf"),
) -> bytes:  # fmt: skip
    """Return bars from the top down, each with its value, and a line across them.

    The axis ends at ``most`` at the latest, so that a long bar does not make the rest too short
    to read; the value stands in it all the same.
    """
    axes = canvas.new_axes(title, across, "")
    top = min(max(*values.values(), line[1]), most) or 1.0
    colours = [canvas.OURS if name == "reached" else canvas.OTHER for name in values]
    axes.barh(list(values), list(values.values()), color=colours, height=0.62)
    for number, (name, value) in enumerate(values.items()):
        text = units.figure(value) + (f" ({notes[name]})" if name in notes else "")
        inside = value > 0.55 * top
        ground, ink = (colours[number], canvas.CARD) if inside else (canvas.CARD, canvas.INK)
        axes.annotate(
            text if value <= top else f"{text} \u2192", (min(value, top), number),
            (-6 if inside else 8, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=canvas.SMALL, color=ink, zorder=4,
            bbox={"facecolor": ground, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    axes.axvline(line[1], color=canvas.MARK, lw=2.5, ls="--", label=line[0])
    axes.set_xlim(0, 1.06 * top)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelsize=canvas.FONT, labelcolor=canvas.INK)
    canvas.add_legend(axes)
    return canvas.png(axes)


def offered_load(loads: Sequence[Row]) -> bytes | None:
    """Return response and service times over the rate of requests; None for a single rate."""
    if len({load["rate"] for load in loads}) < 2:
        return None
    title = f"Requests at a fixed rate, {loads[0]['variant']}"
    axes = canvas.new_axes(title, "requests/s", "response, ms")
    ordered = sorted(loads, key=lambda load: load["rate"])
    rates = [load["rate"] for load in ordered]
    lines = (
        ("response", "p99_ms", "response p99", canvas.THIRD, "s-"),
        ("response", "median_ms", "response p50", canvas.OURS, "D-"),
        ("service", "median_ms", "service p50", canvas.OTHER, "o--"),
    )
    for key, name, label, colour, style in lines:
        values = [load[key][name] for load in ordered]
        axes.plot(rates, values, style, color=colour, lw=2.5, ms=9, label=label)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.08)
    canvas.add_legend(axes, columns=3)
    return canvas.png(axes)
