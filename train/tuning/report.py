"""Report a study: ``trials.csv``, ``trials.png``, and the table of the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from foveate.runtime.atomic_files import write_atomically
from foveate.train.tuning.space import Range
from foveate.train.tuning.study import REASON, Study

COLUMNS = 3


def write_report(study: Study) -> None:
    """Write ``trials.csv`` and ``trials.png`` into the study's folder, each whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [item.name for item in study.space]
    writer.writerow(["trial", "state", "dice", "seconds", *names, "reason"])
    for trial in study.trials:
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        values = [trial.params.get(name, "") for name in names]
        reason = trial.user_attrs.get(REASON, "")
        writer.writerow(
            [trial.number, state(trial), dice(trial), round(seconds, 1), *values, reason]
        )
    data = text.getvalue().encode()
    write_atomically(study.folder / "trials.csv", data)
    figure = draw(study.trials, study.space)
    path = study.folder / "trials.png"
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def as_text(study: Study) -> str:
    """Return the table of finished trials, the best first."""
    names = [item.name for item in study.space]
    widths = [max(len(name), 8) for name in names]
    heads = "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = [f"{'trial':>5}  {'Dice':>8}  {heads}"]
    for trial in sorted(study.trials, key=lambda trial: -_rank(trial)):
        cells = [_cell(trial.params.get(name, "")) for name in names]
        row = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{trial.number:>5}  {_cell(dice(trial)) or state(trial):>8}  {row}")
    return "\n".join(lines)


def state(trial: FrozenTrial) -> str:
    """Return complete, pruned or failed."""
    return {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")


def dice(trial: FrozenTrial) -> float | str:
    """Return a complete trial's Dice, else "": what a pruned one reached is another measure."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return "" if value is None else round(value, 5)


def _rank(trial: FrozenTrial) -> float:
    value = dice(trial)
    return value if isinstance(value, float) else -1.0


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(trials: Sequence[FrozenTrial], space: Sequence[Range]) -> Figure:
    """Return Dice over the trials and, in a panel each, over the settings searched."""
    rows = -(-(len(space) + 1) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.8 * rows), dpi=100, layout="constrained")
    panels = list(np.ravel(figure.subplots(rows, COLUMNS, squeeze=False)))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    _draw_history(panels[0], trials, complete)
    for axes, item in zip(panels[1:], space, strict=False):
        _draw_setting(axes, item, complete)
    for axes in panels[len(space) + 1 :]:
        axes.set_axis_off()
    return figure


def _draw_history(
    axes: Axes, trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]
) -> None:
    numbers = [trial.number for trial in complete]
    values = [trial.value or 0.0 for trial in complete]
    axes.plot(numbers, values, "o", ms=5, label="complete")
    axes.step(numbers, np.maximum.accumulate(values), where="post", label="best so far")
    ended = [trial.number for trial in trials if trial.state != TrialState.COMPLETE]
    low = min(values, default=0.0)
    axes.plot(ended, [low] * len(ended), "x", color="gray", label="pruned or failed")
    axes.set(xlabel="trial", ylabel="validation Dice")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")


def _draw_setting(axes: Axes, item: Range, complete: Sequence[FrozenTrial]) -> None:
    values = [trial.params[item.name] for trial in complete]
    if item.choices:
        axes.set_xticks(range(len(item.choices)), [str(choice) for choice in item.choices])
        values = [item.choices.index(value) for value in values]
    else:
        axes.set_xscale("log" if item.log else "linear")
        axes.set_xlim(item.low, item.high)
        if item.log:  # Matplotlib's own labels overlap within a decade
            ticks = np.geomspace(item.low, item.high, 3)
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
            axes.set_xticks([], minor=True)
    axes.scatter(values, [trial.value or 0.0 for trial in complete], s=18, clip_on=False)
    axes.set(xlabel=item.name, ylabel="validation Dice")
