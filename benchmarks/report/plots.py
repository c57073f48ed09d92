"""The plots of the report, each as PNG: Dice against rate, latencies, stages, offered load."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator

from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import FILE_STAGES, STAGES

Row = Mapping[str, Any]
WIDTH_PX, HEIGHT_PX, DPI = 960, 720, 160
"""At 360 px of a phone 14 points are 11.7 px high."""
CARD, INK, DIM, GRID = "#1b2029", "#e8ebf0", "#96a0b0", "#343c49"
OURS, OTHER, THIRD, MARK = "#f0a52c", "#56b4e9", "#cc79a7", "#f0e442"
"""After Okabe and Ito: apart for every kind of colour blindness, on dark."""
FONT, SMALL = 14.0, 12.5
MARKERS, LEGEND_ROW_PX, LEGEND_LETTERS = "os^vPXDph<>*", 38, 30
CUT = 2.5
"""The axis of what each stage could do alone ends at so many ceilings."""
DICE_SPAN = 0.02
"""The Dice axis shows at least this much, so that noise does not look like a lead."""


def dice_against_rate(methods: Sequence[Row], batch: int = 1) -> bytes | None:
    """Return each method's Dice over its images/s; None when no method has both."""
    here = [item for item in methods if item["here"] and item["dice"] is not None]
    shown = sorted(
        (item for item in here if item["ms"]["median_ms"] > 0),
        key=lambda item: float(item["ms"]["median_ms"]),
    )
    if not shown:
        return None
    way = "one at a time" if batch == 1 else f"{batch} a call"
    height_px = HEIGHT_PX - 2 * LEGEND_ROW_PX + LEGEND_ROW_PX * ((len(shown) + 1) // 2)
    axes = _new_axes("Target Dice against speed", f"images/s ({way})", "target Dice", height_px)
    rates = [1000 * batch / item["ms"]["median_ms"] for item in shown]
    _set_range(axes, rates, [item["dice"] for item in shown])
    others = cycle([(colour, marker) for marker in MARKERS for colour in (OTHER, THIRD)])
    mine = cycle(MARKERS[1:])
    for item, rate in zip(shown, rates, strict=True):
        main = item["key"] == "foveate"
        ours = item["key"].startswith("foveate")
        colour, marker = (OURS, "D" if main else next(mine)) if ours else next(others)
        axes.plot(
            rate, item["dice"], marker, ms=13 if main else 10, color=colour, ls="none",
            markerfacecolor="none" if main else colour, markeredgewidth=3 if main else 0,
            zorder=4 if main else 3, label=textwrap.fill(item["name"], LEGEND_LETTERS),
        )  # fmt: skip
    _add_legend(axes, columns=2)
    return _png(axes)


def _set_range(axes: Axes, across: Sequence[float], dices: Sequence[float]) -> None:
    """Set both axes to what the points need; the one across is a logarithm's from 8 times on."""
    low, high = min(dices), max(dices)
    span = max(high - low, DICE_SPAN)
    axes.set_ylim((low + high) / 2 - 0.7 * span, (low + high) / 2 + 0.7 * span)
    if max(across) > 8 * min(across):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlim(min(across) / 1.3, max(across) * 1.3)
    else:
        edge = 0.15 * max(max(across) - min(across), 0.2 * max(across))
        axes.set_xlim(max(0.0, min(across) - edge), max(across) + edge)


def dice_against_time(rows: Sequence[Row]) -> bytes:
    """Return the Dice of each point over its time, the Pareto front as a line."""
    height_px = HEIGHT_PX + 2 * LEGEND_ROW_PX * ((len(rows) + 1) // 2 - 1)
    axes = _new_axes("Dice against time", "ms an image", "Dice", height_px)
    spreads = [np.percentile(row["ms"]["samples_ms"], (10, 50, 90)) for row in rows]
    _set_range(axes, np.ravel(spreads).tolist(), [row["dice"]["value"] for row in rows])
    others = cycle([(colour, marker) for marker in MARKERS for colour in (OTHER, THIRD)])
    mine = cycle(f"D{MARKERS}")
    front: list[tuple[float, float]] = []
    for row, (low, median, high) in zip(rows, spreads, strict=True):
        colour, marker = (OURS, next(mine)) if row["front"] else next(others)
        front += [(median, row["dice"]["value"])] if row["front"] else []
        model = textwrap.fill(row["model"], LEGEND_LETTERS)
        axes.errorbar(
            median, row["dice"]["value"], xerr=[[median - low], [high - median]], fmt=marker,
            ms=11, color=colour, elinewidth=1.5, zorder=3,
            label=f"{model}\n{row['engine']} {row['precision']}",
        )  # fmt: skip
    if front:  # none where no parity is held
        front.append((axes.get_xlim()[1], front[-1][1]))
        axes.step(*zip(*front, strict=True), where="post", color=MARK, lw=2, ls="--")
    _add_legend(axes, columns=2)
    return _png(axes)


def latency_distribution(row: Row) -> bytes:
    """Return which share of the calls, and of the baseline's, took at most so long."""
    title = f"{row['variant']}, batch {row['batch']}, {units.size(row)}"
    axes = _new_axes(title, "latency, ms", "share of runs")
    sets = (("raw", "baseline", OTHER, "--"), ("call", "foveate", OURS, "-"))
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
    _add_legend(axes)
    return _png(axes)


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
    axes = _new_axes(title, across, "")
    top = min(max(*values.values(), line[1]), most) or 1.0
    colours = [OURS if name == "reached" else OTHER for name in values]
    axes.barh(list(values), list(values.values()), color=colours, height=0.62)
    for number, (name, value) in enumerate(values.items()):
        text = units.figure(value) + (f" ({notes[name]})" if name in notes else "")
        inside = value > 0.55 * top
        ground, ink = (colours[number], CARD) if inside else (CARD, INK)
        axes.annotate(
            text if value <= top else f"{text} \u2192", (min(value, top), number),
            (-6 if inside else 8, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=SMALL, color=ink, zorder=4,
            bbox={"facecolor": ground, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    axes.axvline(line[1], color=MARK, lw=2.5, ls="--", label=line[0])
    axes.set_xlim(0, 1.06 * top)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelsize=FONT, labelcolor=INK)
    _add_legend(axes)
    return _png(axes)


def offered_load(loads: Sequence[Row]) -> bytes | None:
    """Return response and service times over the rate of requests; None for a single rate."""
    if len({load["rate"] for load in loads}) < 2:
        return None
    title = f"Requests at a fixed rate, {loads[0]['variant']}"
    axes = _new_axes(title, "requests/s", "response, ms")
    ordered = sorted(loads, key=lambda load: load["rate"])
    rates = [load["rate"] for load in ordered]
    lines = (
        ("response", "p99_ms", "response p99", THIRD, "s-"),
        ("response", "median_ms", "response p50", OURS, "D-"),
        ("service", "median_ms", "service p50", OTHER, "o--"),
    )
    for key, name, label, colour, style in lines:
        values = [load[key][name] for load in ordered]
        axes.plot(rates, values, style, color=colour, lw=2.5, ms=9, label=label)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.08)
    _add_legend(axes, columns=3)
    return _png(axes)


def _new_axes(title: str, across: str, up: str, height_px: int = HEIGHT_PX) -> Axes:
    """Return the axes of a new figure, dark as the page; ``title`` is text, $ too."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    figure.set_facecolor(CARD)
    axes = figure.add_subplot(facecolor=CARD)
    axes.set_title(title, color=INK, fontsize=FONT, loc="left", parse_math=False)
    axes.set_xlabel(across, color=DIM, fontsize=FONT)
    axes.set_ylabel(up, color=DIM, fontsize=FONT)
    axes.tick_params(colors=DIM, labelsize=SMALL)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GRID)
    return axes


def _add_legend(axes: Axes, columns: int = 1) -> None:
    """Put the legend beneath the axes, where it hides nothing."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    legend = figure.legend(
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL - columns / 2,
        frameon=False,
        labelcolor=INK,
        handlelength=1 if columns == 2 else 2,
        columnspacing=1.2,
        handletextpad=0.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _png(axes: Axes) -> bytes:
    """Return the figure of the axes as PNG."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()
