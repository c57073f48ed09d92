"""The tables of an evaluation: figures, paired differences, objects, and what goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foveate.benchmarks.evaluation.bootstrap import FEW_GROUPS, RESAMPLES, Interval
from foveate.benchmarks.evaluation.summary import MEAN, Line, Summary
from foveate.benchmarks.evaluation.sweep import SweepLine
from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns

HEADS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "prec.",
    "recall": "recall",
    "hd95": "HD95",
    "surface_dice": "sDice",
}
HD95_MM = "hd95_mm"
"""Name of a metric -> the heading of its column."""


def evaluation_tables(summary: Summary, tolerance: float) -> list[Table]:
    """Return the tables of an evaluation; one without rows is left out."""
    tables = [figure_table(summary, tolerance), difference_table(summary), object_table(summary)]
    tables.append(sweep_table(summary))
    return [table for table in tables if table.rows]


def evaluation_text(summary: Summary, tolerance: float) -> str:
    """Return what the terminal shows, the parts apart."""
    shown = ", ".join(f"{method} {value:.4f}" for method, value in summary.ece.items())
    parts = [table.as_text() for table in evaluation_tables(summary, tolerance)]
    if (miss := summary.missed) is not None:
        lost = f"{miss.pooled:.2%} of its pixels; {miss.losing_words()}"
        parts.append(f"Truth outside the box of stage 2: {lost}.")
    return "\n\n".join([*parts, f"Calibration error (ECE) of the foreground: {shown}."])


def _worth_showing(lines: Sequence[Line]) -> list[Line]:
    """Return the lines without those of the mean where there is one class to take it over."""
    classes = {line.name for line in lines} - {MEAN}
    return [line for line in lines if line.name != MEAN or len(classes) > 1]


def figure_table(summary: Summary, tolerance: float) -> Table:
    """Return every metric of each method and class."""
    lengths = [line.figures[HD95_MM].value for line in summary.lines]
    known = [length for length in lengths if not math.isnan(length)]
    unit, factor = ("um", 1000) if max(known, default=0) < 1 else ("mm", 1)
    physical = [f"HD95 {unit}"] if known else []
    columns = (
        *text_columns("method", "class"), *number_columns("Dice", "95% interval"),
        *number_columns(*list(HEADS.values())[1:], *physical, "images", "empty"),
    )  # fmt: skip
    rows = []
    for line in _worth_showing(summary.lines):
        figures = [number(line.figures[name].value, name) for name in HEADS]
        figures.insert(1, span(line.figures["dice"], "dice"))
        figures += [number(factor * line.figures[HD95_MM].value, "hd95") for _ in physical]
        rows.append([line.method, line.name, *figures, str(line.images), str(line.both_empty)])
    notes: list[str | Cell] = [
        "Means over images, then over classes. HD95 in pixels, the diagonal of the image where "
        "only one of mask and truth has the class; sDice: surface Dice within "
        f"{tolerance:g} px; empty: images left out because neither has the class.",
        f"Intervals: {RESAMPLES} resamples of {summary.groups} groups, {summary.images} images.",
    ]
    if summary.groups < FEW_GROUPS:
        notes.append(Cell(few_groups(summary.groups), "warning"))
    return Table("Figures", columns, rows, notes)


def difference_table(summary: Summary) -> Table:
    """Return the paired differences, one row per pair and class."""
    columns = (
        *text_columns("pair", "class"),
        *number_columns("Dice", "95% interval", "HD95", "95% interval of HD95"),
    )
    rows = []
    for line in _worth_showing(summary.differences):
        row = [f"{line.method} - {line.against}", line.name]
        for name in ("dice", "hd95"):
            figure = line.figures[name]
            row += [number(figure.value, name, "+"), span(figure, name, "+")]
        rows.append(row)
    return Table("Paired differences", columns, rows)


def object_table(summary: Summary) -> Table:
    """Return recall per object: by size, all, and false objects; a column per method."""
    methods = [item.method for item in summary.objects]
    columns = (*text_columns("area in pixels"), *number_columns(*methods))
    notes = [
        "Found of all, and recall. An object of the truth is found when half of its pixels are "
        "predicted as its class; the rows are cut at the quartiles of the areas of all objects. A "
        "false object touches no truth of its class."
    ]
    if not summary.sizes:
        return Table("Objects", columns, [])
    rows = []
    for size in summary.sizes:
        if size.method == methods[0]:
            ours = [item for item in summary.sizes if item.smallest == size.smallest]
            shown = [f"{item.found}/{item.objects} ({item.recall:.2f})" for item in ours]
            rows.append([f"{size.smallest} to {size.largest}", *shown])
    every = [f"{it.found}/{it.objects} ({it.recall:.2f})" for it in summary.objects]
    false = [f"{item.false_per_image:.2f}" for item in summary.objects]
    rows += [["all objects", *every], ["false, per image", *false]]
    return Table("Objects found, by area", columns, rows, notes)


def sweep_table(summary: Summary) -> Table:
    """Return the figures of every threshold, of all classes together."""
    columns = (
        *text_columns("threshold"),
        *number_columns("Dice", "IoU", "prec.", "recall", "false objects per image"),
    )
    rows = [
        [
            threshold_words(line),
            *(
                number(value, "dice")
                for value in (line.dice, line.iou, line.precision, line.recall)
            ),
            f"{line.false_per_image:.2f}",
        ]
        for line in summary.sweep
        if line.name == MEAN
    ]
    notes = [
        f"Highest Dice of {name}: {best.dice:.3f} at {threshold_words(best)}. It is too high if it "
        "was chosen on these images."
        for name, best in best_thresholds(summary.sweep).items()
    ]
    return Table("Thresholds", columns, rows, notes)


def best_thresholds(lines: Sequence[SweepLine]) -> dict[str, SweepLine]:
    """Return the line with the highest Dice of each class, the first of equal ones."""
    best: dict[str, SweepLine] = {}
    for line in lines:
        if line.name != MEAN and not math.isnan(line.dice):
            known = best.setdefault(line.name, line)
            best[line.name] = line if line.dice > known.dice else known
    return best


def threshold_words(line: SweepLine) -> str:
    """Return a threshold in words."""
    value = "most probable class" if line.threshold is None else f"{line.threshold:g}"
    return f"{value} (the model's)" if line.own else value


def few_groups(groups: int) -> str:
    """Return the warning that goes with an interval on few groups."""
    return (
        f"The intervals rest on {groups} group{'s' * (groups != 1)} only; with fewer than "
        f"{FEW_GROUPS} they tend to be too narrow: a hint at best."
    )


def number(value: float, name: str, sign: str = "-") -> str:
    """Return a figure of a metric: three digits after the point, one for HD95; - for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.{1 if name == 'hd95' else 3}f}"


def span(figure: Interval, name: str, sign: str = "-") -> str:
    """Return the two ends of the interval of a metric; - where there is none."""
    if math.isnan(figure.value):
        return "-"
    return f"[{number(figure.low, name, sign)}, {number(figure.high, name, sign)}]"
