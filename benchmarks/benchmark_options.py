"""The options that the measurements of ``foveate benchmark`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from foveate.runtime.atomic_files import check_writable
from foveate.runtime.cli.options import gpu_option

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class Names(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.2
    """A comma-separated list of names."""

    name = "NAME[,NAME...]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """A comma-separated list of whole numbers from ``low`` to ``high``."""

    name = "N[,N...]"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(int(part) for part in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers, such as 1,8", param, ctx)
        if not all(self.low <= number <= self.high for number in numbers):
            self.fail(f"{value!r}: expected {self.low} to {self.high}", param, ctx)
        return numbers


_LIST = click.option("--list", "stem_list", type=PATH, help="File of stems of DATA.")
_ENGINES = (
    click.option("--engines", type=Names(), default=(), help="Default: all here."),
    click.option(
        "--precision", "precisions", type=Names(), default=(),
        help="Graphs to run. Default: all of the bundle that run here.",
    ),
    click.option(
        "--threads", type=click.IntRange(0), default=0, show_default=True,
        help="Engine threads; 0: all cores.",
    ),
    gpu_option,
)  # fmt: skip


def _writable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Return the file of the result; refuse one that could not be written after the measurement."""
    if value is not None:
        check_writable(value.parent)
    return value


_OUT = (
    click.option(
        "--out", type=PATH, callback=_writable, help="Write the result as JSON to this file."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
)


def target_options(command: Command) -> Command:
    """Add what most measurements take: bundle, data, engines, and where the result goes."""
    for decorate in reversed(
        (
            click.argument("bundle", type=PATH),
            click.argument("data", type=PATH, required=False),
            _LIST,
            click.option(
                "--reference", type=PATH,
                help="Folder of stored reference masks; its images where there is no DATA.",
            ),
            *_ENGINES,
            click.option(
                "--size", "sizes", type=Numbers(128, 4096), default="1024", show_default=True,
                help="Side of the phantoms, when there is no DATA.",
            ),
            click.option(
                "--count", type=click.IntRange(1), default=8, show_default=True,
                help="How many phantoms.",
            ),
            *_OUT,
        )
    ):  # fmt: skip
        command = decorate(command)
    return command


def models_options(command: Command) -> Command:
    """Add what a measurement of several models takes: the models, data, engines, the result."""
    for decorate in reversed(
        (
            click.argument("models", type=PATH, nargs=-1, required=True, metavar="MODEL..."),
            click.option(
                "--data", type=PATH, required=True, metavar="DATA",
                help="Data set with images/ and masks/.",
            ),
            _LIST,
            *_ENGINES,
            *_OUT,
        )
    ):  # fmt: skip
        command = decorate(command)
    return command
