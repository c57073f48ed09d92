"""``foveate benchmark``: what is slow to import is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path

import click

from foveate.runtime.errors import EngineError, one_line


@click.group()
def benchmark() -> None:
    """Measure parity, latency and throughput; compare with peers; report.

    \b
    Example:
      foveate benchmark report results/*.json --out benchmark-report
    """


@benchmark.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("benchmark-report"),
    show_default=True,
    help="Folder of the page and its plots.",
)
def report(files: tuple[Path, ...], out: Path) -> int:
    """Show result files as one page, with plots; check that they do not contradict themselves.

    FILE is what the other benchmark commands write. Exit code 1 when a figure is not to be
    believed: the page is written all the same and says why at its top.

    \b
    Example:
      foveate benchmark report latency.json compare.json --out benchmark-report
    """
    try:
        from foveate.benchmarks.report import write_report
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise EngineError(
            f"foveate benchmark report needs {package}: pip install 'foveate[benchmark]'"
        ) from None
    made = write_report(files, out)
    for doubt in made.doubts:
        click.echo(one_line(f"doubt: {doubt}"), err=True)
    click.echo(f"Page: {made.page.resolve()}")
    return 1 if made.doubts else 0
