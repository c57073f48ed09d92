"""``foveate segment`` and ``foveate info``."""

from __future__ import annotations

import importlib.util
import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from foveate import __version__
from foveate.runtime.bundle_facts import bundle_facts
from foveate.runtime.engines import ENGINES
from foveate.runtime.errors import one_line
from foveate.runtime.progress import Bar

SHOWN_FAILURES = 10


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the masks.")
@click.option("--recursive", is_flag=True, help="Search subfolders too; OUT gets the tree.")
@click.option(
    "--overlay", is_flag=True, help="Also write pictures of mask and box to OUT/overlays."
)
@click.option("--engine", default="auto", show_default=True, help="auto, or one of foveate info.")
@click.option(
    "--precision", default="auto", show_default=True, help="auto, fp32, fp16, or tf32 (TensorRT)."
)
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Engine threads; 0: all cores.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def segment(
    bundle: Path,
    inputs: tuple[str, ...],
    out: Path,
    recursive: bool,
    overlay: bool,
    engine: str,
    precision: str,
    threads: int,
    as_json: bool,
) -> int:
    """Segment images with BUNDLE: one PNG mask each, as large as its image, into --out.

    INPUT is a file, a folder (the images directly in it), a quoted glob (** is any number of
    folders), - for a list of files on standard input, or @LIST for one in a file: a path a line,
    or NUL-separated. A TIFF of several pages gives a mask a page: scan.p1.png, scan.p2.png. What
    lies in OUT is no input. Binary masks are 1-bit PNG (OpenCV reads 0 and 255, Pillow mode "1"),
    others class indices with a palette. Exit code 1 when some inputs failed: they are in
    OUT/failures.jsonl, all others are written.

    \b
    Example:
      foveate segment lung.bundle scan.png --out masks
      foveate segment lung.bundle scans/ --recursive --out masks --overlay
      foveate segment lung.bundle 'scans/*.tif' 'more/**/*.png' --out masks
      find scans -name '*.png' -print0 | foveate segment lung.bundle - --out masks --recursive
      foveate segment lung.bundle @list.txt --out masks
    """
    import cv2

    from foveate.runtime.inputs import find_items

    cv2.utils.logging.setLogLevel(0)  # what is wrong with a file is said once, in our words
    items = find_items(inputs, out, recursive)
    from foveate.runtime.cascade import Cascade
    from foveate.runtime.pipeline import FAILURES, segment_files

    bar = Bar()
    with Cascade.load(bundle, engine, precision, threads) as cascade:
        report = segment_files(cascade, items, out, overlay, bar.update)
        choice = cascade.choice
    bar.clear()
    rate = report.written / report.seconds if report.seconds else 0.0
    if as_json:
        summary = {**asdict(report), **asdict(choice), "images_per_second": rate, "out": str(out)}
        click.echo(json.dumps(summary))
    else:
        click.echo(
            f"{report.written} masks in {out} ({report.empty} empty), {report.seconds:.1f} s, "
            f"{rate:.1f} images/s with files, {_used(report.engines) or choice.label}"
        )
        for failure in report.failures[:SHOWN_FAILURES]:
            click.echo(one_line(f"failed: {failure.input} {failure.reason}"), err=True)
        if report.failures:
            click.echo(f"{len(report.failures)} failed, listed in {out / FAILURES}", err=True)
    if report.interrupted:
        raise click.Abort
    return 1 if report.failures else 0


def _used(engines: dict[str, int]) -> str:
    """Return what made the masks, in words; with counts where it was more than one engine."""
    if len(engines) < 2:
        return "".join(engines)
    return ", ".join(f"{count} by {name}" for name, count in engines.items())


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(bundle: Path | None, as_json: bool) -> None:
    """Show the engines here and, with BUNDLE, what it holds and how it was checked.

    \b
    Example:
      foveate info lung.bundle
    """
    facts: dict[str, Any] = {
        "foveate": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "engines": {name: _engine(name, extra) for name, (_, extra) in ENGINES.items()},
    }
    if bundle is not None:
        facts["bundle"] = bundle_facts(bundle)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"foveate {__version__}, Python {facts['python']}, {facts['machine']}")
    for name, line in facts["engines"].items():
        click.echo(f"engine {name}: {line}")
    for name, value in facts.get("bundle", {}).items():
        click.echo(f"{name}: {value}")


def _engine(name: str, extra: str) -> str:
    if importlib.util.find_spec(name) is None:
        return f"not installed: pip install 'foveate[{extra}]'"
    try:
        return version(name)
    except PackageNotFoundError:
        return "installed, version unknown"
