"""The ``foveate`` command: a table of verbs, each loaded from its folder when it is called."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import click

from foveate import __version__
from foveate.runtime.cli.streams import lost_output, standard_streams
from foveate.runtime.errors import FoveateError, SmallerBatchWarning, UnavailableWarning, one_line

COMMANDS = {
    "demo": (
        "foveate.benchmarks.cli",
        "Segment synthetic images with the shipped bundle; write a page.",
    ),
    "phantom": ("foveate.train.cli", "Write a synthetic data set."),
    "convert": ("foveate.train.cli", "Turn COCO, labelme or YOLO annotations into a data set."),
    "train": ("foveate.train.cli", "Train both stages, or the one-stage network, on a data set."),
    "tune": ("foveate.train.tuning.cli", "Search settings: trainings judged by validation Dice."),
    "evaluate": ("foveate.benchmarks.cli", "Compare masks of a run or a bundle with the truth."),
    "export": ("foveate.export.cli", "Turn a trained run into a bundle."),
    "import": ("foveate.export.import_cli", "Turn trained networks of any maker into a bundle."),
    "build": (
        "foveate.export.build_cli",
        "Build a TensorRT plan for this device into the cache.",
    ),
    "segment": ("foveate.runtime.cli.segment", "Segment files, folders or globs into PNG masks."),
    "serve": ("foveate.runtime.cli.serve", "Segment images over HTTP: masks, metrics, a page."),
    "benchmark": (
        "foveate.benchmarks.benchmark_cli",
        "Measure parity, latency and throughput; compare with peers; report.",
    ),
    "bundle": ("foveate.runtime.cli.bundle", "Show, check, pack and sign a bundle."),
    "info": ("foveate.runtime.cli.info", "Engines, versions, and what a bundle holds."),
}


class LazyGroup(click.Group):
    """A group that lists its commands from a table and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, "import_" if cmd_name == "import" else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foveate")
def group() -> None:
    """Coarse-to-fine U-Net segmentation: full-resolution masks at a coarse-resolution price.

    \b
    Example:
      foveate demo
      foveate segment my.bundle photos/ --out masks/
    """


def _has_temporary_folder() -> bool:
    import tempfile  # not needed by most commands

    try:
        return bool(tempfile.gettempdir())
    except FileNotFoundError:
        return False


def _say(message: Warning | str, *about: Any) -> None:
    """Write a warning as one line, without the file and line it was raised in."""
    click.echo(f"Warning: {one_line(str(message))}", err=True)


def main() -> None:
    """Run the command; a user's mistake is one line and exit code 2.

    So is a file or folder that the system does not let us read or write, and a standard output that
    does not take all: the command is finished, then says so.
    """
    with standard_streams() as output:
        code = _exit_code()
        if lost := lost_output(output):
            click.echo(f"Error: standard output: {lost}; written files are kept", err=True)
            code = code or 2
    sys.exit(code)


def _exit_code() -> int:
    try:
        with warnings.catch_warnings():
            for kind in (SmallerBatchWarning, UnavailableWarning):
                warnings.simplefilter("always", kind)
            warnings.showwarning = _say  # type: ignore[assignment]  # where it is from is left out
            code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Interrupted; what was written is kept.", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FoveateError as error:
        click.echo(f"Error: {one_line(str(error))}", err=True)
        return 2
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        if not named and _has_temporary_folder():
            raise  # not about a file of the user's
        said = "no temporary folder can be written; TMPDIR=FOLDER names one"
        said = f"{error.filename}: {error.strerror}" if named else said
        click.echo(f"Error: {one_line(said)}", err=True)
        return 2
    return code if isinstance(code, int) else 0
