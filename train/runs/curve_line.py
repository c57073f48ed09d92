"""A stage's curve in one line of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 32


def curve_line(stage: str, curve: Sequence[Mapping[str, Any]]) -> str:
    """Return a stage's loss and Dice in a line, from the first epoch to the last."""
    best = max(curve, key=lambda row: row["dice"])
    return (
        f"{stage}: loss {curve[0]['loss']:.3f} {bars([row['loss'] for row in curve])} "
        f"{curve[-1]['loss']:.3f}, Dice {curve[0]['dice']:.3f} "
        f"{bars([row['dice'] for row in curve])} {curve[-1]['dice']:.3f}, "
        f"best {best['dice']:.4f} in epoch {best['epoch']} of {len(curve)}"
    )


def bars(values: Sequence[float]) -> str:
    """Return at most 32 bars, the least value lowest; where there are more, every nth value."""
    count = min(len(values), COLUMNS)
    last = len(values) - 1
    chosen = [values[round(last * index / max(count - 1, 1))] for index in range(count)]
    low, span = min(chosen), max(chosen) - min(chosen)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / span * top) if span else 0] for value in chosen)
