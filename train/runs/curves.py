"""The curves of a training while it runs: ``curves.png``, and TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from foveate.runtime.atomic_files import write_atomically
from foveate.train.runs.run import read_run

PICTURE_PAUSE_S = 30.0
"""Seconds between pictures: one takes 0.15 s, a small epoch hardly more."""
SCALARS = "tensorboard"
"""Folder in the run that TensorBoard is shown."""
PICTURE = "curves.png"
COLOURS = {"stage1": "tab:blue", "stage2": "tab:orange"}
FOLD: dict[str, Any] = {"color": "0.7", "lw": 0.8, "zorder": 0}
"""Hint networks, which only answer for stage 2's training, stand back."""
FEW_EPOCHS = 5
"""Fewer epochs than this are too short a training, where the loss still falls."""
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = 32


class Curves:
    """Keeps what shows a training's curves up to date.

    ``add`` takes what ``TrainingJob.watch`` is given, ``close`` draws the last picture. Nothing is
    written before the first epoch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun, self._drawn = False, time.monotonic()
        self._writer: Any = None

    def add(self, stage: str, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch that is in ``run.json`` already."""
        if not self._begun:
            self._begun, self._writer = True, _scalar_writer(self._folder / SCALARS)
        if self._writer is not None:
            for name in ("loss", "dice", "rate"):
                self._writer.add_scalar(f"{stage}/{name}", row[name], row["epoch"])
        if time.monotonic() - self._drawn > PICTURE_PAUSE_S:
            self._draw()

    def close(self) -> None:
        """Draw what the last epochs added."""
        if not self._begun:
            return
        self._draw()
        if self._writer is not None:
            self._writer.close()

    def _draw(self) -> None:
        figure = _draw_curves(read_run(self._folder)["stages"])
        write_atomically(self._folder / PICTURE, lambda file: figure.savefig(file, format="png"))
        self._drawn = time.monotonic()


def _scalar_writer(folder: Path) -> Any:
    """Return TensorBoard's writer; None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter  # has types only where tensorboard is installed
    return writer(str(folder))


def _draw_curves(stages: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the ``stages`` of a run's record, those that have an epoch, at 900 x 360 pixels."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for name, stage in stages.items():
        if not stage["curve"]:
            continue
        epochs = [row["epoch"] for row in stage["curve"]]
        look = {"color": COLOURS[name]} if name in COLOURS else dict(FOLD)
        look["marker"] = "." if len(epochs) < 20 else ""
        label = name.replace("fold", "hint network ")
        loss.plot(epochs, [row["loss"] for row in stage["curve"]], label=label, **look)
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


def curve_line(stage: str, curve: Sequence[Mapping[str, Any]]) -> str:
    """Return a stage's loss and Dice in a line, from the first epoch to the last."""
    best = max(curve, key=lambda row: row["dice"])
    return (
        f"{stage}: loss {curve[0]['loss']:.3f} {bars([row['loss'] for row in curve])} "
        f"{curve[-1]['loss']:.3f}, Dice {curve[0]['dice']:.3f} "
        f"{bars([row['dice'] for row in curve])} {curve[-1]['dice']:.3f}, "
        f"best {best['dice']:.4f} in epoch {best['epoch']} of {len(curve)}"
    )


def too_short(record: Mapping[str, Any]) -> str:
    """Return what to do where a stage had few epochs and its loss still fell; "" elsewhere."""
    settings = record["settings"]
    for name in ("stage1", "stage2"):
        loss = [row["loss"] for row in record["stages"].get(name, {}).get("curve", [])]
        if not 0 < len(loss) < FEW_EPOCHS or loss[-1] > min(loss):
            continue
        falling = " and the loss was still falling" if len(loss) > 1 else ""
        more = "--max-minutes" if settings["max_minutes"] else "--num-epochs"
        limit = f" fitted into {settings['max_minutes']:g} minutes" * bool(settings["max_minutes"])
        return f"Only {len(loss)} epoch(s) of {name}{limit}{falling}: give it more ({more})."
    return ""


def bars(values: Sequence[float]) -> str:
    """Return at most 32 bars, the least value lowest; where there are more, every nth value."""
    count = min(len(values), COLUMNS)
    last = len(values) - 1
    chosen = [values[round(last * index / max(count - 1, 1))] for index in range(count)]
    low, span = min(chosen), max(chosen) - min(chosen)
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / span * top) if span else 0] for value in chosen)
