"""How the report writes numbers: three figures, units in the heads of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def figure(value: float) -> str:
    """Return a number with three figures: 143, 14.3, 1.43, 0.143."""
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:.{places}f}"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{0 if abs(share) >= 0.0995 else 1}f}%"


def dice(value: float | None) -> str:
    """Return a Dice with four places; a dash without truth."""
    return "-" if value is None else f"{value:.4f}"


def disagreement(value: float | None) -> str:
    """Return a disagreement with five places; a dash when it was not measured."""
    return "-" if value is None else f"{value:.5f}"


def ratio(value: Mapping[str, Any]) -> str:
    """Return the median of a Ratio."""
    return figure(value["median"])


def spread(value: Mapping[str, Any]) -> str:
    """Return the 10th to 90th percentile of a Ratio."""
    return f"{figure(value['low'])} to {figure(value['high'])}"


def size(row: Mapping[str, Any]) -> str:
    """Return width x height in pixels."""
    return f"{row['width']}x{row['height']}"


def count(value: int, noun: str) -> str:
    """Return "1 image", "3 images"."""
    return f"{value} {noun}" + ("" if value == 1 else "s")
