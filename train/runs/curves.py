"""The curves of a training while it runs: ``curves.png``, and TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.train.runs.curve_picture import PICTURE, write_picture
from foveate.train.runs.run import read_run

PICTURE_PAUSE_S = 30.0
"""Seconds between pictures: one takes 0.15 s, a small epoch hardly more."""
SCALARS = "tensorboard"
"""Folder in the run that TensorBoard is shown."""


class Curves:
    """Keeps what shows a training's curves up to date.

    ``add`` takes what ``Job.watch`` is given, ``close`` ends with the last picture. Nothing is
    written before the first epoch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun, self._drawn = False, time.monotonic()
        self._writer: Any = None

    def add(self, stage: str, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch that is in ``run.json`` already."""
        if not self._begun:
            self._begun, self._writer = True, scalar_writer(self._folder / SCALARS)
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
        write_picture(self._folder / PICTURE, read_run(self._folder)["stages"])
        self._drawn = time.monotonic()


def scalar_writer(folder: Path) -> Any:
    """Return TensorBoard's writer; None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter  # has types only where tensorboard is installed
    return writer(str(folder))
