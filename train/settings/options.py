"""Options of the command line that are settings, by the names people know from the notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from foveate.train.settings.meanings import meaning_of, rows
from foveate.train.settings.settings import Settings, read_values

OPTIONS = (
    "image_dir_name", "mask_dir_name", "image_height", "image_width", "batch_size",
    "learning_rate", "num_epochs", "max_minutes", "device", "threads",
)  # fmt: skip
"""Settings that have an option; --set and --config set the others too."""
CHOSEN = ("image_height", "image_width")
"""Those of them that ``foveate train`` chooses; ``configure`` has the others."""

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(*without: str) -> Callable[[Command], Command]:
    """Return what adds --set, and an option for each of OPTIONS; one not given arrives as None."""

    def add(command: Command) -> Command:
        for name in reversed([name for name in OPTIONS if name not in without]):
            kind = type(getattr(Settings, name))
            default = str(getattr(Settings, name)) + "; train chooses it" * (name in CHOSEN)
            said = f"{meaning_of(name)}  [default: {default}]"
            said = said[0].upper() + said[1:]
            command = click.option(f"--{name.replace('_', '-')}", type=kind, help=said)(command)
        return click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="One setting; foveate train --settings lists them.",
        )(command)

    return add


def show_settings(context: click.Context, option: click.Parameter, asked: bool) -> None:
    """Print every setting with its default and meaning, and end the command; if asked to."""
    if not asked:
        return
    formatter = context.make_formatter()
    formatter.write_text("What is not set is chosen from the data, or has its default:")
    formatter.write_dl([(f"{names} = {default}", text) for names, default, text in rows()])
    click.echo(formatter.getvalue(), nl=False)
    context.exit()


def given_values(
    data: Path | None, config: Path | None, assignments: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings a command was given: of --config, under --set, under options and DATA."""
    values = read_values(config, assignments)
    values |= {name: value for name, value in options.items() if value is not None}
    return values if data is None else {**values, "data_dir": str(data)}
