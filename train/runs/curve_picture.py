"""``curves.png``: loss and validation Dice of every stage, the epoch that was kept marked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from foveate.runtime.atomic_files import write_atomically

PICTURE = "curves.png"
COLOURS = {"stage1": "tab:blue", "stage2": "tab:orange"}
FOLD = {"color": "0.7", "lw": 0.8, "zorder": 0}
"""Networks of the folds, which only answer for stage 2's training, stand back."""


def write_picture(path: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the ``stages`` of a run's record, those that have an epoch, as a PNG of 900 x 360."""
    figure = draw_curves(stages)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def draw_curves(stages: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Return the picture as a figure, which a notebook shows."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for name, stage in stages.items():
        if not stage["curve"]:
            continue
        epochs = [row["epoch"] for row in stage["curve"]]
        known = name in COLOURS
        look = (
            {"color": COLOURS[name], "marker": "." if len(epochs) < 20 else ""} if known else FOLD
        )
        loss.plot(epochs, [row["loss"] for row in stage["curve"]], label=name, **look)
        dice.plot(epochs, [row["dice"] for row in stage["curve"]], **look)
        if name not in COLOURS:
            continue
        best = max(stage["curve"], key=lambda row: row["dice"])
        label = f"{name}: best {best['dice']:.4f}, epoch {best['epoch']}"
        dice.plot(
            best["epoch"], best["dice"], "o", ms=9, mfc="none", color=COLOURS[name], label=label
        )
    loss.set(xlabel="epoch", ylabel="training loss", title="Loss")
    dice.set(xlabel="epoch", ylabel="validation Dice, at the stage's size", title="Dice")
    for axes in (loss, dice):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(loc="best")
    return figure
