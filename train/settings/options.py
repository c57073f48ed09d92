"""Options of the command line that are settings, by the names people know from the notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from foveate.train.settings.settings import Settings, read_values

HELP = {
    "image_dir_name": "Folder of the images in DATA.",
    "mask_dir_name": "Folder of the masks in DATA.",
    "image_height": "Height of stage 1's input in pixels.",
    "image_width": "Width of stage 1's input in pixels.",
    "batch_size": "Views per step.",
    "learning_rate": "Peak learning rate of AdamW.",
    "num_epochs": "Epochs of each stage.",
    "max_minutes": "Total time instead of epochs; the schedule spans it.",
    "device": "cpu, cuda or auto.",
}
"""The others are set by --set and --config."""

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(*without: str) -> Callable[[Command], Command]:
    """Return what adds an option for each of these settings; one not given arrives as None."""

    def add(command: Command) -> Command:
        for name, text in reversed(HELP.items()):
            if name not in without:
                kind = type(getattr(Settings, name))
                said = f"{text}  [default: {getattr(Settings, name)}]"
                option = click.option(f"--{name.replace('_', '-')}", type=kind, help=said)
                command = option(command)
        return command

    return add


def given_values(
    data: Path | None, config: Path | None, assignments: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings a command was given: of --config, under --set, under options and DATA."""
    values = read_values(config, assignments)
    values |= {name: value for name, value in options.items() if value is not None}
    return values if data is None else {**values, "data_dir": str(data)}
