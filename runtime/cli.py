"""``foveate segment`` and ``foveate info``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from foveate.runtime.bundle_facts import bundle_facts
from foveate.runtime.errors import one_line
from foveate.runtime.machine_facts import machine_facts, machine_lines
from foveate.runtime.progress import Bar

SHOWN_FAILURES = 10


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the masks.")
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
    overlay: bool,
    engine: str,
    precision: str,
    threads: int,
    as_json: bool,
) -> int:
    """Segment images with BUNDLE: one PNG mask each, as large as its image, into --out.

    INPUT is a file, a folder (the images directly in it) or a quoted glob. Binary masks are 1-bit
    PNG (OpenCV reads 0 and 255, Pillow mode "1"), others class indices with a palette. Exit code 1
    when some inputs failed: they are in OUT/failures.jsonl, all others are written.

    \b
    Example:
      foveate segment lung.bundle scans/ 'more/*.tif' --out masks --overlay
    """
    import cv2

    from foveate.runtime.inputs import find_items

    cv2.utils.logging.setLogLevel(0)  # what is wrong with a file is said once, in our words
    items = find_items(inputs, out)
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
    """Show the engines here, what is missing and the line that installs it.

    With BUNDLE also what it holds and how it was checked.

    \b
    Example:
      foveate info lung.bundle
    """
    facts = machine_facts()
    if bundle is not None:
        facts["bundle"] = bundle_facts(bundle)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for line in machine_lines(facts):
        click.echo(one_line(line))
    for name, value in facts.get("bundle", {}).items():
        click.echo(f"{name}: {value}")
