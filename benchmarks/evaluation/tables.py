"""The figures as text: what the terminal shows, and what the page shares with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from foveate.benchmarks.evaluation.bootstrap import FEW_GROUPS, RESAMPLES, Interval
from foveate.benchmarks.evaluation.metrics import NAMES
from foveate.benchmarks.evaluation.summary import MEAN, Line, Summary

HEADS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "prec.",
    "recall": "recall",
    "hd95": "HD95",
    "surface_dice": "sDice",
}
"""Name of a metric -> the head of its column."""


def as_text(summary: Summary, tolerance: float) -> str:
    """Return what the terminal shows: at most 100 columns, the parts apart."""
    parts = [
        figure_lines(summary.lines),
        difference_lines(summary.differences),
        object_lines(summary),
        [*miss_lines(summary), *calibration_lines(summary)],
        notes(summary, tolerance),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def worth_showing(lines: Sequence[Line]) -> list[Line]:
    """Return the lines without those of the mean where there is one class to take it over."""
    classes = {line.name for line in lines} - {MEAN}
    return [line for line in lines if line.name != MEAN or len(classes) > 1]


def figure_lines(lines: Sequence[Line]) -> list[str]:
    """Return the table of method and class."""
    heads = " ".join(f"{HEADS[name]:>6}" for name in NAMES[1:])
    shown = [f"{'method':<8} {'class':<18} {'Dice':>6} {'95% interval':>16} {heads} images  empty"]
    for line in worth_showing(lines):
        dice = line.figures["dice"]
        rest = " ".join(f"{number(line.figures[name].value, name):>6}" for name in NAMES[1:])
        shown.append(
            f"{line.method:<8} {_short(line.name):<18} {number(dice.value, 'dice'):>6} "
            f"{span(dice, 'dice'):>16} {rest} {line.images:>6} {line.both_empty:>6}"
        )
    return shown


def difference_lines(lines: Sequence[Line]) -> list[str]:
    """Return the paired differences, one line per pair and class; nothing without a pair."""
    if not lines:
        return []
    shown = [f"{'paired difference':<20} {'class':<18} {'Dice':>7} {'95% interval':>18}"]
    for line in worth_showing(lines):
        dice = line.figures["dice"]
        pair = f"{line.method} - {line.against}"
        gain, ends = number(dice.value, "dice", "+"), span(dice, "dice", "+")
        shown.append(f"{pair:<20} {_short(line.name):<18} {gain:>7} {ends:>18}")
    return shown


def object_rows(summary: Summary) -> list[list[str]]:
    """Return recall per object as rows: by size, all, and false objects; a column per method.

    The first row is the heading. Nothing is returned where the truth has no object.
    """
    if not summary.sizes:
        return []
    methods = [item.method for item in summary.objects]
    rows = [["area in pixels", *methods]]
    for size in summary.sizes:
        if size.method == methods[0]:
            ours = [item for item in summary.sizes if item.smallest == size.smallest]
            shown = [f"{item.found}/{item.objects} ({item.recall:.2f})" for item in ours]
            rows.append([f"{size.smallest} to {size.largest}", *shown])
    every = [f"{it.found}/{it.objects} ({it.found / it.objects:.2f})" for it in summary.objects]
    false = [f"{item.false_per_image:.2f}" for item in summary.objects]
    return [*rows, ["all objects", *every], ["false, per image", *false]]


def object_lines(summary: Summary) -> list[str]:
    """Return recall per object and the false objects as a table."""
    rows = object_rows(summary)
    if rows:
        rows[0][0] = "objects found, by area"
    return [f"{row[0]:<24}" + "".join(f"{cell:>18}" for cell in row[1:]) for row in rows]


def miss_lines(summary: Summary) -> list[str]:
    """Return what the box left out; nothing where there is no box."""
    miss = summary.missed
    if miss is None:
        return []
    return [
        f"truth outside the box of stage 2: {miss.pooled:.2%} of its pixels; {miss.losing_words()}"
    ]


def calibration_lines(summary: Summary) -> list[str]:
    """Return the calibration error of each method."""
    shown = ", ".join(f"{method} {value:.4f}" for method, value in summary.ece.items())
    return [f"calibration error (ECE) of the foreground: {shown}"]


def notes(summary: Summary, tolerance: float) -> list[str]:
    """Return what one must know to read the figures."""
    shown = [
        f"HD95 in pixels; sDice: surface Dice within {tolerance:g} px; empty: neither mask nor "
        "truth has the class",
        f"intervals: {RESAMPLES} resamples of {summary.groups} groups, {summary.images} images",
    ]
    if summary.groups < FEW_GROUPS:
        shown.append(few_groups(summary))
    return shown


def few_groups(summary: Summary) -> str:
    """Return the warning that goes with an interval on few groups."""
    return (
        f"The intervals rest on {summary.groups} group{'s' * (summary.groups != 1)} only; with "
        f"fewer than {FEW_GROUPS} they tend to be too narrow: a hint at best."
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


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"
